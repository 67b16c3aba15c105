// The points of a job that count: those of the store without what a later attempt superseded.
#ifndef POLYMOE_SERVER_CURVES_JOB_POINTS_H_
#define POLYMOE_SERVER_CURVES_JOB_POINTS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "server/query/series.h"

namespace polymoe {

class Store;

namespace v1 {
class Job;
}

using SeriesByName = std::map<std::string, std::vector<Point>>;

// By metric name, ascending by step; all names when `names` is empty.
absl::StatusOr<SeriesByName> ReadJobPoints(Store& store, const v1::Job& job, const std::vector<std::string>& names);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_CURVES_JOB_POINTS_H_
