// A run's curves on a grid of tokens, so that runs compare at equal tokens whenever and however fast they trained. Pure.
#ifndef POLYMOE_SERVER_QUERY_CURVES_H_
#define POLYMOE_SERVER_QUERY_CURVES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/query/series.h"

namespace polymoe {

// Milestone k of `grid` (k from 1): k / grid of `target`, rounded down; those that coincide or are 0 are left out.
std::vector<uint64_t> GridMilestones(uint64_t target, uint32_t grid);

// The curve of one metric: a value a milestone, NaN where there is none (or where it is none).
//
// "loss": mean over the points after the milestone before, up to this one. A milestone that training has not reached has no value, so
// that a mean never changes later. val_*: the last point there. A point counts for the first milestone at or past its tokens; a last
// step that ends past the target counts for the target.
std::vector<double> CurveOf(const std::string& metric, const std::vector<Point>& points, const std::vector<uint64_t>& milestones);

// By metric: "loss", "val_loss/SET", "val_bpb/SET".
using RunCurves = std::map<std::string, std::vector<double>>;

}  // namespace polymoe

#endif  // POLYMOE_SERVER_QUERY_CURVES_H_
