// A run's curves on a grid of tokens, so that runs compare at equal tokens whenever and however fast they trained. Pure.
#ifndef POLYMOE_SERVER_QUERY_CURVES_H_
#define POLYMOE_SERVER_QUERY_CURVES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/query/series.h"

namespace polymoe {

// Milestone k of `grid` (k from 1): the end of the first step at or past k / grid of `target`, where steps take `step_tokens` each: what
// a run measures "at 400k tokens" it measures there. Those that coincide are one.
std::vector<uint64_t> GridMilestones(uint64_t target, uint32_t grid, uint64_t step_tokens);

// The curve of one metric: a value a milestone, NaN where there is none (or where it is none). A point counts for the first milestone at
// or past its tokens. "loss": mean over the points of the milestone; one that training has not reached has no value, so that a mean never
// changes later. val_*: the last point.
std::vector<double> CurveOf(const std::string& metric, const std::vector<Point>& points, const std::vector<uint64_t>& milestones);

// By metric: "loss", "val_loss/SET", "val_bpb/SET".
using RunCurves = std::map<std::string, std::vector<double>>;

}  // namespace polymoe

#endif  // POLYMOE_SERVER_QUERY_CURVES_H_
