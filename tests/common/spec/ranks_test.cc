#include "common/spec/ranks.h"

#include <gtest/gtest.h>

#include "polymoe/v1/job_spec.pb.h"

namespace polymoe {
namespace {

v1::JobSpec Spec(uint32_t ranks, uint32_t min_ranks, uint32_t expert_parallel, uint32_t global_batch, uint32_t micro_batch) {
  v1::JobSpec spec;
  spec.mutable_resources()->set_ranks(ranks);
  if (min_ranks > 0) spec.mutable_resources()->set_min_ranks(min_ranks);
  spec.mutable_resources()->set_expert_parallel(expert_parallel);
  spec.mutable_train()->set_global_batch(global_batch);
  spec.mutable_train()->set_micro_batch(micro_batch);
  return spec;
}

TEST(Ranks, WithoutARangeItIsAllOrNothing) {
  const v1::JobSpec spec = Spec(4, 0, 1, 16, 2);
  EXPECT_EQ(MinRanks(spec), 4u);
  EXPECT_EQ(MostRanks(spec, 3), 0u);
  EXPECT_EQ(MostRanks(spec, 4), 4u);
  EXPECT_EQ(MostRanks(spec, 100), 4u);
}

TEST(Ranks, TakesTheMostThatTheBatchAndTheExpertsAllow) {
  const v1::JobSpec spec = Spec(8, 2, 2, 24, 2);
  EXPECT_EQ(MostRanks(spec, 8), 6u) << "24 sequences over 8 ranks are 3, which micro-batches of 2 do not divide";
  EXPECT_EQ(MostRanks(spec, 5), 4u) << "pairs share the experts";
  EXPECT_EQ(MostRanks(spec, 3), 2u);
  EXPECT_EQ(MostRanks(spec, 1), 0u);
  EXPECT_EQ(MostRanks(spec, 0), 0u);
}

TEST(Ranks, HasEveryChoiceLargestFirst) {
  EXPECT_EQ(RankChoices(Spec(8, 2, 2, 24, 2)), (std::vector<uint32_t>{6, 4, 2}));
  EXPECT_EQ(RankChoices(Spec(4, 0, 1, 16, 2)), (std::vector<uint32_t>{4}));
  EXPECT_EQ(RankChoices(Spec(3, 1, 1, 12, 1)), (std::vector<uint32_t>{3, 2, 1}));
}

TEST(Ranks, NamesTheFieldThatStandsAgainstIt) {
  const v1::JobSpec spec = Spec(8, 1, 2, 24, 3);
  EXPECT_EQ(FindRanksProblem(spec, 3)->field, "spec.resources.expertParallel");
  EXPECT_EQ(FindRanksProblem(spec, 10)->field, "spec.train.globalBatch");
  EXPECT_EQ(FindRanksProblem(spec, 6)->field, "spec.train.microBatch");
  EXPECT_FALSE(FindRanksProblem(spec, 8).has_value());
}

}  // namespace
}  // namespace polymoe
