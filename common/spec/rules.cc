#include "common/spec/rules.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "polymoe/v1/job_spec.pb.h"

#include "common/check.h"
#include "common/spec/scalar.h"
#include "common/status.h"

namespace polymoe {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const v1::FieldRule& RuleOf(const FieldDescriptor* field) {
  return field->options().GetExtension(v1::rule);
}

bool IsMessage(const FieldDescriptor* field) {
  return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

bool IsPresent(const Message& message, const FieldDescriptor* field) {
  // A field without presence (a plain string or enum) counts as given when it is not at its zero value; that is what HasField says.
  return field->is_repeated() ? message.GetReflection()->FieldSize(message, field) > 0
                              : message.GetReflection()->HasField(message, field);
}

double NumberOf(const Message& message, const FieldDescriptor* field) {
  const auto* reflection = message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection->GetUInt32(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return static_cast<double>(reflection->GetUInt64(message, field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection->GetDouble(message, field);
    default:
      break;
  }
  POLYMOE_CHECK(false, "field %s has a range but is no number", field->full_name().c_str());
}

std::string Range(const v1::FieldRule& rule) {
  if (rule.has_min() && rule.has_max()) return absl::StrFormat("%.10g to %.10g", rule.min(), rule.max());
  if (rule.has_min()) return absl::StrFormat("at least %.10g", rule.min());
  if (rule.has_max()) return absl::StrFormat("at most %.10g", rule.max());
  return "";
}

std::string Join(const std::string& path, const std::string& name) {
  return path.empty() ? name : absl::StrCat(path, ".", name);
}

absl::Status CheckMessage(const Message& message, const std::string& path, const std::string& partial, const SourceMap& places);

absl::Status CheckField(const Message& message, const FieldDescriptor* field, const std::string& path, const std::string& partial,
                        const SourceMap& places) {
  const v1::FieldRule& rule = RuleOf(field);
  if (!IsPresent(message, field)) {
    const bool may_be_absent = !rule.required() || (!partial.empty() && absl::StartsWith(path, partial + "."));
    return may_be_absent ? absl::OkStatus() : places.Error(path, absl::StrCat("is missing: ", rule.help()));
  }
  if (rule.has_min() || rule.has_max()) {
    const double value = NumberOf(message, field);
    if ((rule.has_min() && value < rule.min()) || (rule.has_max() && value > rule.max())) {
      return places.Error(path, absl::StrCat(GetScalar(message, field), " is out of range; it must be ", Range(rule)));
    }
  }
  if (!IsMessage(field) || field->is_map()) return absl::OkStatus();
  const auto* reflection = message.GetReflection();
  if (!field->is_repeated()) return CheckMessage(reflection->GetMessage(message, field), path, partial, places);
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    POLYMOE_RETURN_IF_ERROR(
        CheckMessage(reflection->GetRepeatedMessage(message, field, i), absl::StrCat(path, "[", i, "]"), partial, places));
  }
  return absl::OkStatus();
}

absl::Status CheckMessage(const Message& message, const std::string& path, const std::string& partial, const SourceMap& places) {
  const Descriptor* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    POLYMOE_RETURN_IF_ERROR(CheckField(message, type->field(i), Join(path, type->field(i)->json_name()), partial, places));
  }
  return absl::OkStatus();
}

void Describe(const Descriptor* type, const std::string& path, std::vector<FieldDoc>& docs) {
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    const v1::FieldRule& rule = RuleOf(field);
    const std::string field_path = Join(path, field->json_name());
    docs.push_back({field_path, TypeName(field), rule.required() ? "required" : rule.default_value(), Range(rule), rule.help()});
    if (IsMessage(field) && !field->is_map())
      Describe(field->message_type(), field->is_repeated() ? field_path + "[]" : field_path, docs);
  }
}

}  // namespace

void ApplyDefaults(Message* message) {
  const Descriptor* type = message->GetDescriptor();
  const auto* reflection = message->GetReflection();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    const v1::FieldRule& rule = RuleOf(field);
    if (IsMessage(field) && !field->is_map()) {
      if (field->is_repeated()) {
        for (int j = 0; j < reflection->FieldSize(*message, field); ++j)
          ApplyDefaults(reflection->MutableRepeatedMessage(message, field, j));
      } else if (IsPresent(*message, field) || !rule.required()) {
        ApplyDefaults(reflection->MutableMessage(message, field));
      }
    } else if (!rule.default_value().empty() && !IsPresent(*message, field)) {
      const absl::Status set = SetScalar(message, field, rule.default_value());
      POLYMOE_CHECK(set.ok(), "default of %s: %s", field->full_name().c_str(), std::string(set.message()).c_str());
    }
  }
}

absl::Status CheckRules(const Message& message, const SourceMap& places, const std::string& partial) {
  return CheckMessage(message, "", partial, places);
}

std::vector<FieldDoc> DescribeFields(const Descriptor* type) {
  std::vector<FieldDoc> docs;
  Describe(type, "", docs);
  return docs;
}

}  // namespace polymoe
