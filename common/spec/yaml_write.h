// protobuf -> YAML in the spelling that yaml_read.h reads; reading it back gives the same message.
#ifndef POLYMOE_COMMON_SPEC_YAML_WRITE_H_
#define POLYMOE_COMMON_SPEC_YAML_WRITE_H_

#include <string>

namespace google::protobuf {
class Message;
}

namespace polymoe {

std::string MessageToYaml(const google::protobuf::Message& message);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_YAML_WRITE_H_
