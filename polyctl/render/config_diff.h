// In what job specs differ.
#ifndef POLYMOE_POLYCTL_RENDER_CONFIG_DIFF_H_
#define POLYMOE_POLYCTL_RENDER_CONFIG_DIFF_H_

#include <string>
#include <vector>

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/metric.pb.h"

#include "polyctl/render/table.h"

namespace polymoe::polyctl {

// Single fields that are not the same in all, by path in the order of the paths; a value each, empty where the field is not set.
std::vector<v1::ConfigDifference> DiffSpecs(const std::vector<const v1::JobSpec*>& specs);

// A row a name, a column a field; no rows when nothing differs. `header` is the one of the names.
Table DifferencesTable(const std::string& header, const std::vector<Cell>& names,
                       const std::vector<v1::ConfigDifference>& differences);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_CONFIG_DIFF_H_
