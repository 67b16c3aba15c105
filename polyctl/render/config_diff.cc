#include "polyctl/render/config_diff.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/spec/scalar.h"

namespace polymoe::polyctl {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Values = std::map<std::string, std::string>;

// Every single value that is set, by its path. No map is in a job's spec.
void Flatten(const Message& message, const std::string& prefix, Values& values) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string path = absl::StrCat(prefix, prefix.empty() ? "" : ".", field->json_name());
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      if (!field->is_repeated()) values[path] = GetScalar(message, field);
    } else if (!field->is_repeated()) {
      Flatten(reflection->GetMessage(message, field), path, values);
    } else {
      for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
        Flatten(reflection->GetRepeatedMessage(message, field, i), absl::StrCat(path, "[", i, "]"), values);
      }
    }
  }
}

}  // namespace

std::vector<v1::ConfigDifference> DiffSpecs(const std::vector<const v1::JobSpec*>& specs) {
  std::vector<Values> all;
  Values paths;
  for (const v1::JobSpec* spec : specs) {
    Flatten(*spec, "", all.emplace_back());
    paths.insert(all.back().begin(), all.back().end());
  }
  std::vector<v1::ConfigDifference> differences;
  for (const auto& [path, first] : paths) {
    v1::ConfigDifference difference;
    difference.set_path(path);
    for (Values& values : all) difference.add_values(values[path]);
    const bool same =
        std::all_of(difference.values().begin(), difference.values().end(), [&](const auto& value) { return value == first; });
    if (!same) differences.push_back(std::move(difference));
  }
  return differences;
}

Table DifferencesTable(const std::string& header, const std::vector<Cell>& names,
                       const std::vector<v1::ConfigDifference>& differences) {
  if (differences.empty()) return {};
  Table table{{{header}}, {}};
  for (const v1::ConfigDifference& difference : differences) table.columns.push_back({difference.path()});
  for (size_t i = 0; i < names.size(); ++i) {
    std::vector<Cell> row = {names[i]};
    for (const v1::ConfigDifference& difference : differences) {
      const bool known = i < static_cast<size_t>(difference.values_size()) && !difference.values(static_cast<int>(i)).empty();
      row.push_back(known ? difference.values(static_cast<int>(i)) : "-");
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace polymoe::polyctl
