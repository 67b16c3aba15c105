#include "common/spec/leaves.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/spec/scalar.h"

namespace polymoe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

using Pairs = std::vector<std::pair<std::string, std::string>>;

void Collect(const Message& message, const std::string& prefix, Pairs& pairs) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string path = absl::StrCat(prefix, field->json_name());
    if (field->is_repeated()) {
      POLYMOE_CHECK(field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_map(), "%s is no list of messages",
                    path.c_str());
      for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
        Collect(reflection->GetRepeatedMessage(message, field, i), absl::StrCat(path, "[", i, "]."), pairs);
      }
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Collect(reflection->GetMessage(message, field), path + ".", pairs);
    } else {
      pairs.emplace_back(path, GetScalar(message, field));
    }
  }
}

}  // namespace

std::vector<std::pair<std::string, std::string>> Leaves(const Message& message) {
  Pairs pairs;
  Collect(message, "", pairs);
  return pairs;
}

}  // namespace polymoe
