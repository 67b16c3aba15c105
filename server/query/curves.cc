#include "server/query/curves.h"

#include <algorithm>
#include <limits>

#include "common/check.h"

namespace polymoe {

std::vector<uint64_t> GridMilestones(uint64_t target, uint32_t grid, uint64_t step_tokens) {
  POLYMOE_CHECK(step_tokens > 0, "steps of a complete job have tokens");
  std::vector<uint64_t> milestones;
  for (uint32_t k = 1; k <= grid; ++k) {
    // Rounded up twice. Not target * k / grid, which may not fit.
    const uint64_t tokens = target / grid * k + (target % grid * k + grid - 1) / grid;
    const uint64_t end = (tokens + step_tokens - 1) / step_tokens * step_tokens;
    if (end > 0 && (milestones.empty() || end > milestones.back())) milestones.push_back(end);
  }
  return milestones;
}

std::vector<double> CurveOf(const std::string& metric, const std::vector<Point>& points, const std::vector<uint64_t>& milestones) {
  std::vector<double> curve(milestones.size(), std::numeric_limits<double>::quiet_NaN());
  const bool mean = metric == "loss";
  size_t at = 0;
  double sum = 0;
  uint32_t count = 0;
  for (const Point& point : points) {
    const size_t index = std::lower_bound(milestones.begin(), milestones.end(), point.tokens) - milestones.begin();
    if (index == milestones.size()) break;
    if (index != at) sum = count = 0;
    at = index;
    sum += point.value;
    ++count;
    if (!mean) {
      curve[index] = point.value;
    } else if (points.back().tokens >= milestones[index]) {
      curve[index] = sum / count;
    }
  }
  return curve;
}

}  // namespace polymoe
