// Charts as SVG, to stand inside an HTML page (report_page.h has the colours of its classes).
#ifndef POLYMOE_POLYCTL_RENDER_SVG_H_
#define POLYMOE_POLYCTL_RENDER_SVG_H_

#include <string>

#include "polymoe/v1/metric.pb.h"

#include "polyctl/render/chart.h"

namespace polymoe::polyctl {

// `id` is unique in the page. Everything of an arm is in groups of the class "series-N", N its index in `names`, which the page's buttons
// hide. Text alternatives: <title>, <desc>, and a <title> on each point of the means.
std::string SvgChart(const Chart& chart, const std::string& id, const std::vector<std::string>& names);

// The differences to the baseline at the end with their 95% confidence intervals, one line an arm.
std::string SvgIntervals(const v1::AblationComparison& comparison, const std::string& metric, const std::string& id);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_SVG_H_
