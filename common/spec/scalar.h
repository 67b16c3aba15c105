// Single values of the job file: text <-> a protobuf field, by the field's type.
#ifndef POLYMOE_COMMON_SPEC_SCALAR_H_
#define POLYMOE_COMMON_SPEC_SCALAR_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace google::protobuf {
class FieldDescriptor;
class Message;
}  // namespace google::protobuf

namespace polymoe {

// Sets a singular field to the value that `text` spells, or adds it to a list of texts or whole numbers. INVALID_ARGUMENT says what would
// be right; it names no path and no place.
// Enum values are spelled as their names without the type's prefix, in lower case: ACTIVATION_KIND_POLYNORM is "polynorm".
absl::Status SetScalar(google::protobuf::Message* message, const google::protobuf::FieldDescriptor* field, absl::string_view text);

// The spelling that SetScalar reads back to the same value.
std::string GetScalar(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor* field);

// Likewise for one item of a list of texts or whole numbers.
std::string GetItem(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor* field, int index);

// What the field takes, for errors and the reference: "a whole number", "one of moe, dense", "a mapping", ...
std::string TypeName(const google::protobuf::FieldDescriptor* field);

// The candidate that `word` is probably a mistyping of, or nothing.
std::string ClosestMatch(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_SCALAR_H_
