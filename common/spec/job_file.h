// Job files: read, checked, with every default filled in. The one entry for polyctl (with a file's text), for the coordinator (with a
// message that came over the wire) and for the trainer.
#ifndef POLYMOE_COMMON_SPEC_JOB_FILE_H_
#define POLYMOE_COMMON_SPEC_JOB_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/spec/source_map.h"

namespace polymoe {

namespace v1 {
class JobFile;
}

// Text of a YAML file -> a complete, valid job file. Errors as yaml_read.h gives them.
absl::StatusOr<v1::JobFile> ParseJobFile(const std::string& text, const std::string& file);

// Fills in the defaults, then checks every rule of single fields and of fields together (heads divide hidden, topK <= experts,
// microBatch divides the rank's share, ...). INVALID_ARGUMENT says path, value and what would be right.
absl::Status CompleteJobFile(v1::JobFile* file, const SourceMap& places = {});

// Lower-case letters, digits and inner '-', 1 to 63: usable as a DNS label, a file name and a metric label value.
bool IsName(const std::string& name);

// What every file begins with: apiVersion, its kind and a name.
absl::Status CheckHead(const std::string& api_version, const std::string& kind, const std::string& right_kind,
                       const std::string& name, const SourceMap& places);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_JOB_FILE_H_
