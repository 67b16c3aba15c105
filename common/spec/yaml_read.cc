#include "common/spec/yaml_read.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/spec/scalar.h"
#include "common/status.h"

namespace polymoe {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Walks one document; `places_` learns each path as it is met, so that an error can be placed at once.
class Reader {
 public:
  explicit Reader(SourceMap* places) : places_(*places) {}

  absl::Status ReadMessage(const YAML::Node& node, const std::string& path, Message* message) {
    if (!node.IsMap()) return places_.Error(path, absl::StrCat("expected a mapping, found ", Kind(node)));
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      const std::string key_path = path.empty() ? key : absl::StrCat(path, ".", key);
      Note(key_path, entry.first);
      if (!seen.insert(key).second) return places_.Error(key_path, "given twice");
      const FieldDescriptor* field = FindField(message->GetDescriptor(), key);
      if (field == nullptr) return UnknownField(message->GetDescriptor(), key, key_path);
      POLYMOE_RETURN_IF_ERROR(ReadField(entry.second, key_path, message, field));
    }
    return absl::OkStatus();
  }

 private:
  static const FieldDescriptor* FindField(const Descriptor* type, const std::string& key) {
    for (int i = 0; i < type->field_count(); ++i) {
      if (type->field(i)->json_name() == key) return type->field(i);
    }
    return nullptr;
  }

  absl::Status UnknownField(const Descriptor* type, const std::string& key, const std::string& path) {
    std::vector<std::string> names;
    for (int i = 0; i < type->field_count(); ++i) names.push_back(type->field(i)->json_name());
    const std::string guess = ClosestMatch(key, names);
    return places_.Error(path, absl::StrCat("unknown field; ", guess.empty() ? "`polyctl explain` lists all fields"
                                                                             : absl::StrCat("did you mean ", guess, "?")));
  }

  absl::Status ReadField(const YAML::Node& node, const std::string& path, Message* message, const FieldDescriptor* field) {
    if (node.IsNull()) return places_.Error(path, absl::StrCat("has no value; expected ", TypeName(field)));
    if (field->is_map()) return ReadMap(node, path, message, field);
    if (field->is_repeated()) return ReadList(node, path, message, field);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      return ReadMessage(node, path, message->GetReflection()->MutableMessage(message, field));
    }
    if (!node.IsScalar()) return places_.Error(path, absl::StrCat("expected ", TypeName(field), ", found ", Kind(node)));
    const absl::Status status = SetScalar(message, field, node.Scalar());
    return status.ok() ? status : places_.Error(path, status.message());
  }

  // map<string, string> fields.
  absl::Status ReadMap(const YAML::Node& node, const std::string& path, Message* message, const FieldDescriptor* field) {
    if (!node.IsMap()) return places_.Error(path, absl::StrCat("expected a mapping, found ", Kind(node)));
    const Descriptor* entry_type = field->message_type();
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      const std::string key_path = absl::StrCat(path, ".", key);
      Note(key_path, entry.first);
      if (!seen.insert(key).second) return places_.Error(key_path, "given twice");
      if (!entry.second.IsScalar()) return places_.Error(key_path, absl::StrCat("expected a text, found ", Kind(entry.second)));
      Message* pair = message->GetReflection()->AddMessage(message, field);
      POLYMOE_RETURN_IF_ERROR(SetScalar(pair, entry_type->map_key(), key));
      POLYMOE_RETURN_IF_ERROR(SetScalar(pair, entry_type->map_value(), entry.second.Scalar()));
    }
    return absl::OkStatus();
  }

  absl::Status ReadList(const YAML::Node& node, const std::string& path, Message* message, const FieldDescriptor* field) {
    if (!node.IsSequence()) return places_.Error(path, absl::StrCat("expected a list, found ", Kind(node)));
    for (size_t i = 0; i < node.size(); ++i) {
      const std::string item_path = absl::StrCat(path, "[", i, "]");
      Note(item_path, node[i]);
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
        if (!node[i].IsScalar()) return places_.Error(item_path, absl::StrCat("expected a single value, found ", Kind(node[i])));
        if (const absl::Status status = SetScalar(message, field, node[i].Scalar()); !status.ok())
          return places_.Error(item_path, status.message());
        continue;
      }
      POLYMOE_RETURN_IF_ERROR(ReadMessage(node[i], item_path, message->GetReflection()->AddMessage(message, field)));
    }
    return absl::OkStatus();
  }

  void Note(const std::string& path, const YAML::Node& node) { places_.Add(path, node.Mark().line + 1, node.Mark().column + 1); }

  static std::string Kind(const YAML::Node& node) {
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        return absl::StrCat("'", node.Scalar(), "'");
      case YAML::NodeType::Sequence:
        return "a list";
      case YAML::NodeType::Map:
        return "a mapping";
      default:
        return "nothing";
    }
  }

  SourceMap& places_;
};

// Hears where documents begin and nothing else.
class DocumentStarts final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { last_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

  const YAML::Mark& last() const { return last_; }

 private:
  YAML::Mark last_;
};

// YAML::Load silently ignores what follows the first document, and YAML::LoadAll never ends on a stray bracket (it makes empty documents
// of it for ever): so the documents are counted first, to two.
absl::Status CheckOneDocument(const std::string& text, const std::string& file) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStarts starts;
  if (!parser.HandleNextDocument(starts)) return absl::InvalidArgumentError(absl::StrCat(file, ": is empty"));
  if (!parser.HandleNextDocument(starts)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(file, ":", starts.last().line + 1, ":", starts.last().column + 1,
                                                 ": a second YAML document begins here, or the first is not closed well; write one "
                                                 "job a file"));
}

}  // namespace

absl::Status YamlToMessage(const std::string& text, const std::string& file, Message* message, SourceMap* places) {
  *places = SourceMap(file);
  try {  // yaml-cpp reports through exceptions
    POLYMOE_RETURN_IF_ERROR(CheckOneDocument(text, file));
    const YAML::Node document = YAML::Load(text);
    if (document.IsNull()) return absl::InvalidArgumentError(absl::StrCat(file, ": is empty"));
    return Reader(places).ReadMessage(document, "", message);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ":", e.mark.line + 1, ":", e.mark.column + 1, ": not valid YAML: ", e.msg));
  }
}

}  // namespace polymoe
