#include "polyctl/render/config_diff.h"

namespace polymoe::polyctl {

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
