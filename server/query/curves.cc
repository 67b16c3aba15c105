#include "server/query/curves.h"

#include <algorithm>
#include <limits>

namespace polymoe {

std::vector<uint64_t> GridMilestones(uint64_t target, uint32_t grid) {
  std::vector<uint64_t> milestones;
  for (uint32_t k = 1; k <= grid; ++k) {
    // Not target * k / grid, which may not fit.
    const uint64_t tokens = target / grid * k + target % grid * k / grid;
    if (tokens > 0 && (milestones.empty() || tokens > milestones.back())) milestones.push_back(tokens);
  }
  return milestones;
}

std::vector<double> CurveOf(const std::string& metric, const std::vector<Point>& points, const std::vector<uint64_t>& milestones) {
  std::vector<double> curve(milestones.size(), std::numeric_limits<double>::quiet_NaN());
  if (milestones.empty() || points.empty()) return curve;
  const bool mean = metric == "loss";
  const uint64_t reached = points.back().tokens;
  size_t at = 0;
  double sum = 0;
  uint32_t count = 0;
  for (const Point& point : points) {
    const auto it = std::lower_bound(milestones.begin(), milestones.end(), point.tokens);
    const size_t index = it == milestones.end() ? milestones.size() - 1 : it - milestones.begin();
    if (index != at) sum = count = 0;
    at = index;
    sum += point.value;
    ++count;
    if (!mean) {
      curve[index] = point.value;
    } else if (reached >= milestones[index]) {
      curve[index] = sum / count;
    }
  }
  return curve;
}

}  // namespace polymoe
