// -o table|wide|json|yaml|name: data for people and for scripts.
#ifndef POLYMOE_POLYCTL_OUTPUT_H_
#define POLYMOE_POLYCTL_OUTPUT_H_

#include <string>

#include <nlohmann/json.hpp>

#include "polyctl/console.h"
#include "polyctl/render/table.h"

namespace google::protobuf {
class Message;
}

namespace polymoe::polyctl {

enum class OutputFormat { kTable, kWide, kJson, kYaml, kName };

struct OutputOptions {
  std::string format = "table";
  bool no_headers = false;

  OutputFormat parsed() const;
  bool structured() const { return parsed() == OutputFormat::kJson || parsed() == OutputFormat::kYaml; }
};

// Protobuf's own JSON mapping: camelCase names, 64-bit integers as strings, enum values by name, fields at their default included.
// Fields in the order of the schema, the keys of a map sorted.
nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

template <typename Messages>
nlohmann::ordered_json ToJsonArray(const Messages& messages) {
  auto array = nlohmann::ordered_json::array();
  for (const auto& message : messages) array.push_back(ToJson(message));
  return array;
}

// JSON or YAML, as the options say (they are structured()).
void PrintJson(const nlohmann::ordered_json& json, const OutputOptions& options, Console& console);

void PrintTable(const Table& table, const OutputOptions& options, Console& console);

// The first column alone: what -o name gives.
void PrintNames(const Table& table, Console& console);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_OUTPUT_H_
