#include "server/query/series.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "common/check.h"

namespace polymoe {

std::vector<Point> Supersede(std::vector<Point> points, const std::vector<AttemptStart>& attempts) {
  // Attempt -> last step that still counts: the smallest start of any later attempt.
  std::map<uint32_t, uint64_t> last_step;
  uint64_t bound = std::numeric_limits<uint64_t>::max();
  for (auto it = attempts.rbegin(); it != attempts.rend(); ++it) {
    last_step[it->attempt] = bound;
    bound = std::min(bound, it->step);
  }
  std::erase_if(points, [&](const Point& p) {
    const auto it = last_step.find(p.attempt);
    return it == last_step.end() || p.step > it->second;
  });
  std::sort(points.begin(), points.end(),
            [](const Point& a, const Point& b) { return std::tie(a.step, a.attempt) < std::tie(b.step, b.attempt); });
  return points;
}

double Coordinate(const Point& point, SeriesAxis axis) {
  switch (axis) {
    case SeriesAxis::kStep:
      return static_cast<double>(point.step);
    case SeriesAxis::kTokens:
      return static_cast<double>(point.tokens);
    case SeriesAxis::kTime:
      return static_cast<double>(point.time_ms);
  }
  POLYMOE_CHECK(false, "unknown axis");
}

namespace {

void AddTo(Bucket& bucket, const Point& point) {
  if (bucket.count == 0) {
    bucket.min = bucket.max = point.value;
  } else {
    bucket.min = std::fmin(bucket.min, point.value);
    bucket.max = std::fmax(bucket.max, point.value);
  }
  bucket.mean += point.value;  // a sum until Finish
  bucket.last = point;
  ++bucket.count;
}

void Finish(Bucket& bucket) {
  bucket.mean /= bucket.count;
  if (!std::isfinite(bucket.mean)) bucket.mean = std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

std::vector<Bucket> Downsample(const std::vector<Point>& points, SeriesAxis axis, std::optional<double> from,
                               std::optional<double> to, uint32_t max_points) {
  std::vector<const Point*> wanted;
  for (const Point& point : points) {
    const double x = Coordinate(point, axis);
    if ((!from || x >= *from) && (!to || x <= *to)) wanted.push_back(&point);
  }
  std::vector<Bucket> buckets;
  if (wanted.empty()) return buckets;
  const double start = Coordinate(*wanted.front(), axis);
  const double width = max_points == 0 ? 0 : (Coordinate(*wanted.back(), axis) - start) / max_points;
  const bool one_each = max_points == 0 || wanted.size() <= max_points;
  uint32_t current = 0;
  for (const Point* point : wanted) {
    // The last point sits on the end of the last bucket and belongs to it.
    const uint32_t index = width > 0 ? std::min<uint32_t>(max_points - 1, (Coordinate(*point, axis) - start) / width) : 0;
    if (buckets.empty() || one_each || index != current) buckets.emplace_back();
    current = index;
    AddTo(buckets.back(), *point);
  }
  for (Bucket& bucket : buckets) Finish(bucket);
  return buckets;
}

std::vector<uint64_t> TokenMilestones(const std::vector<std::vector<Point>>& series, uint32_t grid) {
  uint64_t reached = std::numeric_limits<uint64_t>::max();
  for (const auto& points : series) reached = std::min(reached, points.empty() ? 0 : points.back().tokens);
  std::vector<uint64_t> milestones;
  if (series.empty() || reached == 0) return milestones;
  for (uint32_t i = 1; i <= grid; ++i) {
    const uint64_t tokens = static_cast<uint64_t>(static_cast<double>(reached) * i / grid);
    if (tokens > 0 && (milestones.empty() || tokens > milestones.back())) milestones.push_back(tokens);
  }
  return milestones;
}

std::vector<std::optional<double>> AtMilestones(const std::vector<Point>& points, const std::vector<uint64_t>& milestones) {
  std::vector<std::optional<double>> values(milestones.size());
  for (const Point& point : points) {
    const auto it = std::lower_bound(milestones.begin(), milestones.end(), point.tokens);
    if (it != milestones.end()) values[it - milestones.begin()] = point.value;
  }
  return values;
}

}  // namespace polymoe
