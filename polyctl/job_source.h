// The job or ablation file that a command was given: FILE or '-' for standard input, with the edits of --set.
#ifndef POLYMOE_POLYCTL_JOB_SOURCE_H_
#define POLYMOE_POLYCTL_JOB_SOURCE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job_spec.pb.h"

#include "polyctl/console.h"

namespace polymoe::polyctl {

struct FileSource {
  std::string file;
  std::vector<std::string> edits;  // "spec.train.tokens=1M", "metadata.labels.seed=2", "spec.validation.sets[0].path=/d"
};

// Complete and valid. INVALID_ARGUMENT with file:line:column otherwise; for a file of the other kind it says which command takes it.
absl::StatusOr<v1::JobFile> ReadJobFile(const FileSource& source, const Console& console);
// `base`, if not empty, is a job file whose spec comes before spec.base of the ablation; the budget's tokens and the seeds stand for its own.
absl::StatusOr<v1::AblationFile> ReadAblationFile(const FileSource& source, const std::string& base, const Console& console);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_JOB_SOURCE_H_
