// The FieldRules of proto/polymoe/v1/job_spec.proto at work: defaults, required fields, ranges, and the reference of all fields.
#ifndef POLYMOE_COMMON_SPEC_RULES_H_
#define POLYMOE_COMMON_SPEC_RULES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "common/spec/source_map.h"

namespace google::protobuf {
class Descriptor;
class Message;
}  // namespace google::protobuf

namespace polymoe {

// Gives every absent field with a default its value, absent sub-messages included unless they are required.
void ApplyDefaults(google::protobuf::Message* message);

// The first missing required field, or number out of range. Below the path `partial` required fields may be absent: they are given
// elsewhere.
absl::Status CheckRules(const google::protobuf::Message& message, const SourceMap& places, const std::string& partial = "");

// One row a field, for `polyctl explain` and docs/job-spec.md.
struct FieldDoc {
  std::string path, type, default_value, range, help;
};
std::vector<FieldDoc> DescribeFields(const google::protobuf::Descriptor* type);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_RULES_H_
