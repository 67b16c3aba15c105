#include "polyctl/output.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>
#include <yaml-cpp/yaml.h>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"

#include "common/check.h"

namespace polymoe::polyctl {
namespace {

using nlohmann::ordered_json;

// Would a YAML reader take the text for something else than a text?
bool NeedsQuotes(const std::string& text) {
  double number;
  if (text.empty() || absl::SimpleAtod(text, &number)) return true;
  const std::string lower = absl::AsciiStrToLower(text);
  for (const char* word : {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"}) {
    if (lower == word) return true;
  }
  return false;
}

void EmitYaml(const ordered_json& json, YAML::Emitter& out) {
  if (json.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, value] : json.items()) {
      out << YAML::Key << key << YAML::Value;
      EmitYaml(value, out);
    }
    out << YAML::EndMap;
  } else if (json.is_array()) {
    if (json.empty()) out << YAML::Flow;
    out << YAML::BeginSeq;
    for (const auto& value : json) EmitYaml(value, out);
    out << YAML::EndSeq;
  } else if (json.is_string()) {
    const auto text = json.get<std::string>();
    if (NeedsQuotes(text)) out << YAML::DoubleQuoted;
    out << text;
  } else {
    out << json.dump();
  }
}

}  // namespace

OutputFormat OutputOptions::parsed() const {
  if (format == "wide") return OutputFormat::kWide;
  if (format == "json") return OutputFormat::kJson;
  if (format == "yaml") return OutputFormat::kYaml;
  if (format == "name") return OutputFormat::kName;
  POLYMOE_CHECK(format == "table", "the parser let -o %s through", format.c_str());
  return OutputFormat::kTable;
}

ordered_json ToJson(const google::protobuf::Message& message) {
  namespace pb = google::protobuf;
  // MessageToJsonString alone gives the pairs of a map in another order each time; by way of the deterministic encoding they are sorted.
  std::string binary, text;
  {
    pb::io::StringOutputStream stream(&binary);
    pb::io::CodedOutputStream encoder(&stream);
    encoder.SetSerializationDeterministic(true);
    POLYMOE_CHECK(message.SerializeToCodedStream(&encoder));
  }
  static pb::util::TypeResolver* const types =
      pb::util::NewTypeResolverForDescriptorPool("type.googleapis.com", pb::DescriptorPool::generated_pool());
  pb::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  const auto status = pb::util::BinaryToJsonString(
      types, "type.googleapis.com/" + std::string(message.GetDescriptor()->full_name()), binary, &text, options);
  POLYMOE_CHECK(status.ok(), "%s", status.ToString().c_str());
  return ordered_json::parse(text);
}

void PrintJson(const ordered_json& json, const OutputOptions& options, Console& console) {
  if (options.parsed() == OutputFormat::kJson) {
    console.out << json.dump(2, ' ', false, ordered_json::error_handler_t::replace) << "\n";
    return;
  }
  YAML::Emitter out;
  EmitYaml(json, out);
  console.out << out.c_str() << "\n";
}

void PrintTable(const Table& table, const OutputOptions& options, Console& console) {
  console.out << RenderTable(
      table, {.headers = !options.no_headers, .colour = console.colour, .utf8 = console.utf8, .width = console.width});
}

void PrintNames(const Table& table, Console& console) {
  for (const auto& row : table.rows) console.out << row[0].text << "\n";
}

}  // namespace polymoe::polyctl
