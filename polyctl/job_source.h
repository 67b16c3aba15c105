// The job file that a command was given: FILE or '-' for standard input, with the edits of --set.
#ifndef POLYMOE_POLYCTL_JOB_SOURCE_H_
#define POLYMOE_POLYCTL_JOB_SOURCE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "polymoe/v1/job_spec.pb.h"

#include "polyctl/console.h"

namespace polymoe::polyctl {

struct JobSource {
  std::string file;
  std::vector<std::string> edits;  // "spec.train.tokens=1M", "metadata.labels.seed=2", "spec.validation.sets[0].path=/d"
};

// One edit. The path's spelling and the value's are those of the job file. INVALID_ARGUMENT names the edit and what would be right.
absl::Status ApplyEdit(const std::string& edit, v1::JobFile* file);

// Complete and valid. INVALID_ARGUMENT with file:line:column otherwise.
absl::StatusOr<v1::JobFile> ReadJobFile(const JobSource& source, const Console& console);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_JOB_SOURCE_H_
