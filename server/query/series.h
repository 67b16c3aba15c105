// What becomes of raw metric points before anyone sees them: superseded ones drop out, long series are put into buckets, runs are
// lined up at equal tokens. Pure functions; the store reads, the service answers.
#ifndef POLYMOE_SERVER_QUERY_SERIES_H_
#define POLYMOE_SERVER_QUERY_SERIES_H_

#include <cstdint>
#include <optional>
#include <vector>

namespace polymoe {

// One stored value of one metric of one job.
struct Point {
  uint32_t attempt = 0;
  uint64_t step = 0;
  uint64_t tokens = 0;
  int64_t time_ms = 0;
  double value = 0;
};

// Where an attempt began: at the checkpoint of this step (0: from scratch).
struct AttemptStart {
  uint32_t attempt = 0;
  uint64_t step = 0;
};

// The points that count, ascending by step: those of an attempt up to the step from which a later attempt resumed. `attempts` are
// all attempts that trained, ascending. Points of an attempt that is not among them (it never started) are dropped.
std::vector<Point> Supersede(std::vector<Point> points, const std::vector<AttemptStart>& attempts);

enum class SeriesAxis { kStep, kTokens, kTime };

double Coordinate(const Point& point, SeriesAxis axis);

struct Bucket {
  Point last;       // its newest point
  double mean = 0;  // NaN when any value is not finite: a spike must not vanish in an average
  double min = 0, max = 0;
  uint32_t count = 0;
};

// Points with from <= coordinate <= to, in at most `max_points` buckets of equal width on the axis (0: a bucket a point). Empty
// buckets are left out. `points` ascend on the axis.
std::vector<Bucket> Downsample(const std::vector<Point>& points, SeriesAxis axis, std::optional<double> from,
                               std::optional<double> to, uint32_t max_points);

// `grid` equal parts of the tokens that every series reached; empty when one has no points.
std::vector<uint64_t> TokenMilestones(const std::vector<std::vector<Point>>& series, uint32_t grid);

// For each milestone the value of the last point at or before it and after the milestone before.
std::vector<std::optional<double>> AtMilestones(const std::vector<Point>& points, const std::vector<uint64_t>& milestones);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_QUERY_SERIES_H_
