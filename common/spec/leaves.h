// A message as pairs of path and value, spelled as in the YAML file: what two job files differ in.
#ifndef POLYMOE_COMMON_SPEC_LEAVES_H_
#define POLYMOE_COMMON_SPEC_LEAVES_H_

#include <string>
#include <utility>
#include <vector>

namespace google::protobuf {
class Message;
}

namespace polymoe {

// Every value that is set, in the order of the schema: {"model.activation.kind", "polynorm"}, {"validation.sets[0].name", "near"}, ...
std::vector<std::pair<std::string, std::string>> Leaves(const google::protobuf::Message& message);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_LEAVES_H_
