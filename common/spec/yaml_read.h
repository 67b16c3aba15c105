// YAML -> protobuf, by reflection: the message type is the schema. Keys are JSON names, values are spelled as scalar.h says.
// Anything the schema does not know is an error that names file, line, column, field path and what would be right:
//
//   job.yaml:12:5: spec.train.learningrate: unknown field; did you mean learningRate?
#ifndef POLYMOE_COMMON_SPEC_YAML_READ_H_
#define POLYMOE_COMMON_SPEC_YAML_READ_H_

#include <string>

#include "absl/status/status.h"

#include "common/spec/source_map.h"

namespace google::protobuf {
class Message;
}

namespace polymoe {

// Fills `message` (empty on entry) from one YAML document. `file` is for errors. Where each field stood goes to `places`, which
// later checks use for their errors too. INVALID_ARGUMENT on any mistake.
absl::Status YamlToMessage(const std::string& text, const std::string& file, google::protobuf::Message* message, SourceMap* places);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_YAML_READ_H_
