// In what job specs differ (common/spec/spec_diff.h), as a table.
#ifndef POLYMOE_POLYCTL_RENDER_CONFIG_DIFF_H_
#define POLYMOE_POLYCTL_RENDER_CONFIG_DIFF_H_

#include <string>
#include <vector>

#include "polymoe/v1/metric.pb.h"

#include "polyctl/render/table.h"

namespace polymoe::polyctl {

// A row a name, a column a field; no rows when nothing differs. `header` is the one of the names.
Table DifferencesTable(const std::string& header, const std::vector<Cell>& names,
                       const std::vector<v1::ConfigDifference>& differences);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_CONFIG_DIFF_H_
