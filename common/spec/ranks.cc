#include "common/spec/ranks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/job_spec.pb.h"

namespace polymoe {

uint32_t MinRanks(const v1::JobSpec& spec) {
  return spec.resources().has_min_ranks() ? spec.resources().min_ranks() : spec.resources().ranks();
}

bool IsElastic(const v1::JobSpec& spec) {
  return MinRanks(spec) < spec.resources().ranks();
}

std::optional<RanksProblem> FindRanksProblem(const v1::JobSpec& spec, uint32_t ranks) {
  const v1::TrainSpec& train = spec.train();
  const uint32_t shared_by = spec.resources().expert_parallel();
  if (ranks % shared_by != 0) {
    return RanksProblem{"spec.resources.expertParallel",
                        absl::StrCat(ranks, " ranks cannot form whole groups of ", shared_by, " that share the experts")};
  }
  if (train.global_batch() % ranks != 0) {
    return RanksProblem{"spec.train.globalBatch", absl::StrCat(train.global_batch(), " sequences cannot be split evenly over ",
                                                               ranks, " ranks (spec.resources.ranks)")};
  }
  if (train.global_batch() / ranks % train.micro_batch() != 0) {
    return RanksProblem{"spec.train.microBatch",
                        absl::StrCat(train.micro_batch(), " does not divide the ", train.global_batch() / ranks,
                                     " sequences that a rank gets of each global batch")};
  }
  return std::nullopt;
}

uint32_t MostRanks(const v1::JobSpec& spec, uint32_t slots) {
  for (uint32_t ranks = std::min(slots, spec.resources().ranks()); ranks >= std::max(1u, MinRanks(spec)); --ranks) {
    if (!FindRanksProblem(spec, ranks)) return ranks;
  }
  return 0;
}

std::vector<uint32_t> RankChoices(const v1::JobSpec& spec) {
  if (!IsElastic(spec)) return {spec.resources().ranks()};
  std::vector<uint32_t> choices;
  for (uint32_t ranks = MostRanks(spec, spec.resources().ranks()); ranks > 0; ranks = MostRanks(spec, ranks - 1)) {
    choices.push_back(ranks);
  }
  return choices;
}

}  // namespace polymoe
