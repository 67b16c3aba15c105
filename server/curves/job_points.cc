#include "server/curves/job_points.h"

#include <utility>

#include "polymoe/v1/job.pb.h"

#include "common/status.h"
#include "server/store/store.h"

namespace polymoe {

absl::StatusOr<SeriesByName> ReadJobPoints(Store& store, const v1::Job& job, const std::vector<std::string>& names) {
  POLYMOE_ASSIGN_OR_RETURN(SeriesByName series, store.ReadPoints(job.id(), names));
  std::vector<AttemptStart> attempts;
  for (const v1::Attempt& attempt : job.attempts()) {
    if (attempt.started_ranks_size() > 0) attempts.push_back({attempt.number(), attempt.start_step()});
  }
  for (auto& [name, points] : series) points = Supersede(std::move(points), attempts);
  return series;
}

}  // namespace polymoe
