#include "common/spec/edit.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/spec/scalar.h"
#include "common/status.h"

namespace polymoe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

absl::StatusOr<const FieldDescriptor*> FindField(const Message& message, const std::string& key) {
  const auto* type = message.GetDescriptor();
  std::vector<std::string> names;
  for (int i = 0; i < type->field_count(); ++i) {
    if (type->field(i)->json_name() == key) return type->field(i);
    names.push_back(type->field(i)->json_name());
  }
  const std::string guess = ClosestMatch(key, names);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown field '", key, "'; ",
                   guess.empty() ? "`polyctl explain` lists all fields" : absl::StrCat("did you mean ", guess, "?")));
}

// Sets one pair of a map<string, string>.
absl::Status SetPair(Message* message, const FieldDescriptor* field, const std::string& key, const std::string& value) {
  const auto* reflection = message->GetReflection();
  const auto* entry_type = field->message_type();
  for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
    Message* pair = reflection->MutableRepeatedMessage(message, field, i);
    if (GetScalar(*pair, entry_type->map_key()) == key) return SetScalar(pair, entry_type->map_value(), value);
  }
  Message* pair = reflection->AddMessage(message, field);
  POLYMOE_RETURN_IF_ERROR(SetScalar(pair, entry_type->map_key(), key));
  return SetScalar(pair, entry_type->map_value(), value);
}

// "sets[1]" -> the name "sets" and 1; without brackets -1.
absl::StatusOr<std::pair<std::string, int>> SplitIndex(const std::string& step) {
  const size_t bracket = step.find('[');
  if (bracket == std::string::npos) return std::make_pair(step, -1);
  int index;
  if (!absl::EndsWith(step, "]") || !absl::SimpleAtoi(step.substr(bracket + 1, step.size() - bracket - 2), &index) || index < 0) {
    return absl::InvalidArgumentError(absl::StrCat("'", step, "' is not NAME[INDEX]"));
  }
  return std::make_pair(step.substr(0, bracket), index);
}

}  // namespace

absl::Status SetField(Message* message, const std::string& path, const std::string& value) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(path, absl::MaxSplits('.', 1));
  const std::string& rest = parts.second;
  POLYMOE_ASSIGN_OR_RETURN(const auto step, SplitIndex(parts.first));
  const auto& [name, index] = step;
  POLYMOE_ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(*message, name));
  const auto* reflection = message->GetReflection();
  if (field->is_map()) {
    if (rest.empty()) return absl::InvalidArgumentError(absl::StrCat("'", name, "' holds pairs; write ", name, ".KEY=VALUE"));
    return SetPair(message, field, rest, value);
  }
  if (field->is_repeated()) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return absl::InvalidArgumentError(absl::StrCat("'", name, "' is a list of values and is set in the file alone"));
    }
    const int size = reflection->FieldSize(*message, field);
    if (index < 0 || index >= size) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", name, "' has ", size, " entries; write ", name, "[INDEX] with an index from 0"));
    }
    return SetField(reflection->MutableRepeatedMessage(message, field, index), rest, value);
  }
  if (index >= 0) return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no list"));
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (rest.empty()) return absl::InvalidArgumentError(absl::StrCat("'", name, "' has fields; write ", name, ".FIELD=VALUE"));
    return SetField(reflection->MutableMessage(message, field), rest, value);
  }
  if (!rest.empty())
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is a single value and has no field '", rest, "'"));
  return SetScalar(message, field, value);
}

}  // namespace polymoe
