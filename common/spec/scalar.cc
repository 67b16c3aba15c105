#include "common/spec/scalar.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "polymoe/v1/job_spec.pb.h"

#include "common/check.h"
#include "common/units.h"

namespace polymoe {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// ActivationKind -> ACTIVATION_KIND_, the prefix of its values' names.
std::string EnumPrefix(const EnumDescriptor* type) {
  std::string prefix;
  for (const char c : type->name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  return prefix + '_';
}

std::string Spelling(const EnumValueDescriptor* value) {
  return absl::AsciiStrToLower(value->name().substr(EnumPrefix(value->type()).size()));
}

// All values but the unspecified one.
std::vector<std::string> Spellings(const EnumDescriptor* type) {
  std::vector<std::string> names;
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0) names.push_back(Spelling(type->value(i)));
  }
  return names;
}

bool CountsTokens(const FieldDescriptor* field) {
  return field->options().GetExtension(v1::rule).unit() == "tokens";
}

std::optional<uint64_t> ParseWhole(const FieldDescriptor* field, absl::string_view text) {
  if (CountsTokens(field)) return ParseCount(text);
  uint64_t value;
  return absl::SimpleAtoi(text, &value) ? std::optional(value) : std::nullopt;
}

// Of a value of the field, also where the field is a list of them.
std::string ValueName(const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return CountsTokens(field) ? "a token count such as 500k or 2M" : "a whole number";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_STRING:
      return "a text";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("one of ", absl::StrJoin(Spellings(field->enum_type()), ", "));
    default:
      return "a mapping";
  }
}

absl::Status Expected(const FieldDescriptor* field, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("expected ", ValueName(field), ", found '", text, "'"));
}

absl::Status SetEnum(Message* message, const FieldDescriptor* field, absl::string_view text) {
  const EnumDescriptor* type = field->enum_type();
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0 && Spelling(type->value(i)) == text) {
      message->GetReflection()->SetEnum(message, field, type->value(i));
      return absl::OkStatus();
    }
  }
  const std::string guess = ClosestMatch(text, Spellings(type));
  return absl::InvalidArgumentError(absl::StrCat("expected ", TypeName(field), ", found '", text, "'",
                                                 guess.empty() ? "" : absl::StrCat("; did you mean ", guess, "?")));
}

absl::Status AddItem(Message* message, const FieldDescriptor* field, absl::string_view text) {
  const Reflection* reflection = message->GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    reflection->AddString(message, field, std::string(text));
    return absl::OkStatus();
  }
  POLYMOE_CHECK(field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64, "lists of %s's type do not occur",
                field->full_name().c_str());
  const std::optional<uint64_t> value = ParseWhole(field, text);
  if (!value) return Expected(field, text);
  reflection->AddUInt64(message, field, *value);
  return absl::OkStatus();
}

int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitute = diagonal + (absl::ascii_tolower(a[i - 1]) == absl::ascii_tolower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// Shortest text that reads back to the same double.
std::string FormatDouble(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  return std::string(buffer, end);
}

}  // namespace

std::string TypeName(const FieldDescriptor* field) {
  return field->is_repeated() && !field->is_map() ? "a list" : ValueName(field);
}

absl::Status SetScalar(Message* message, const FieldDescriptor* field, absl::string_view text) {
  if (field->is_repeated()) return AddItem(message, field, text);
  const Reflection* reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      reflection->SetString(message, field, std::string(text));
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(message, field, text);
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return Expected(field, text);
      reflection->SetBool(message, field, text == "true");
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64: {
      const std::optional<uint64_t> value = ParseWhole(field, text);
      const bool narrow = field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32;
      if (!value || (narrow && *value > std::numeric_limits<uint32_t>::max())) return Expected(field, text);
      narrow ? reflection->SetUInt32(message, field, static_cast<uint32_t>(*value)) : reflection->SetUInt64(message, field, *value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value;
      if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) return Expected(field, text);
      reflection->SetDouble(message, field, value);
      return absl::OkStatus();
    }
    default:
      break;
  }
  POLYMOE_CHECK(false, "field %s has a type that the job file does not use", field->full_name().c_str());
}

std::string GetScalar(const Message& message, const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection->GetString(message, field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return Spelling(reflection->GetEnum(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection->GetUInt32(message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection->GetUInt64(message, field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return FormatDouble(reflection->GetDouble(message, field));
    default:
      break;
  }
  POLYMOE_CHECK(false, "field %s has a type that the job file does not use", field->full_name().c_str());
}

std::string GetItem(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* reflection = message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return reflection->GetRepeatedString(message, field, index);
  POLYMOE_CHECK(field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64, "lists of %s's type do not occur",
                field->full_name().c_str());
  return absl::StrCat(reflection->GetRepeatedUInt64(message, field, index));
}

std::string ClosestMatch(absl::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  int best_distance = static_cast<int>(std::max<size_t>(2, word.size() / 3)) + 1;
  for (const std::string& candidate : candidates) {
    if (const int distance = EditDistance(word, candidate); distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace polymoe
