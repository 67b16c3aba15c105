// `polyctl compare ABLATION` on a terminal.
#ifndef POLYMOE_POLYCTL_RENDER_ABLATION_COMPARISON_H_
#define POLYMOE_POLYCTL_RENDER_ABLATION_COMPARISON_H_

#include <string>
#include <vector>

#include "polymoe/v1/metric.pb.h"

#include "polyctl/render/table.h"

namespace polymoe::polyctl {

// A verdict table and a chart for each of `metrics` (empty: the main one), then speed, the validation sets, the arms, and
// what differs in their configuration. `delta`: charts of the difference to the baseline.
std::string RenderAblationComparison(const v1::AblationComparison& comparison, const std::vector<std::string>& metrics, bool delta,
                                     const TableOptions& options);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_ABLATION_COMPARISON_H_
