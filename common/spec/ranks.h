// On how many ranks a job can run.
#ifndef POLYMOE_COMMON_SPEC_RANKS_H_
#define POLYMOE_COMMON_SPEC_RANKS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace polymoe {

namespace v1 {
class JobSpec;
}

// spec.resources.minRanks, or ranks where it is absent.
uint32_t MinRanks(const v1::JobSpec& spec);
// Whether the job gives a range of ranks.
bool IsElastic(const v1::JobSpec& spec);

// The field that stands against it, by its path in the job file, and why.
struct RanksProblem {
  std::string field, why;
};

// What keeps `ranks` ranks from sharing the job's global batch and experts; nothing when they can.
std::optional<RanksProblem> FindRanksProblem(const v1::JobSpec& spec, uint32_t ranks);

// The most ranks, at most `slots` and within the job's range, that it can run on; 0 when there is no such number.
uint32_t MostRanks(const v1::JobSpec& spec, uint32_t slots);

// Every number of ranks that it can run on, descending, of a checked spec.
std::vector<uint32_t> RankChoices(const v1::JobSpec& spec);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_RANKS_H_
