#include "common/spec/yaml_write.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <vector>

#include "common/spec/scalar.h"

namespace polymoe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

void Emit(const Message& message, YAML::Emitter& out);

void EmitField(const Message& message, const FieldDescriptor* field, YAML::Emitter& out) {
  const auto* reflection = message.GetReflection();
  out << YAML::Key << field->json_name() << YAML::Value;
  if (field->is_map()) {
    std::map<std::string, std::string> sorted;  // a protobuf map has no order
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      const Message& entry = reflection->GetRepeatedMessage(message, field, i);
      sorted[GetScalar(entry, field->message_type()->map_key())] = GetScalar(entry, field->message_type()->map_value());
    }
    out << YAML::BeginMap;
    for (const auto& [key, value] : sorted) out << YAML::Key << key << YAML::Value << value;
    out << YAML::EndMap;
  } else if (field->is_repeated()) {
    out << YAML::BeginSeq;
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Emit(reflection->GetRepeatedMessage(message, field, i), out);
      } else {
        out << GetItem(message, field, i);
      }
    }
    out << YAML::EndSeq;
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    Emit(reflection->GetMessage(message, field), out);
  } else {
    out << GetScalar(message, field);
  }
}

void Emit(const Message& message, YAML::Emitter& out) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  out << YAML::BeginMap;
  for (const FieldDescriptor* field : fields) EmitField(message, field, out);
  out << YAML::EndMap;
}

}  // namespace

std::string MessageToYaml(const Message& message) {
  YAML::Emitter out;
  Emit(message, out);
  return std::string(out.c_str()) + "\n";
}

}  // namespace polymoe
