// The comparison: the best of each column is marked as it is printed, and the ranking is of what every job has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "polyctl/render/comparison.h"

namespace polymoe::polyctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Comparison Two() {
  return {.jobs = {{"moe-a", "polynorm(3)", 165'000, 12'000}, {"moe-bb", "relu", 165'000, 0}},
          .tokens = {500'000, 1'000'000},
          .metrics = {{"loss", {{2.5, 1.5}, {2.4, 1.25}}},
                      {"val_loss/far", {{3.0, 2.0}, {3.0, 2.5}}},
                      {"val_loss/near", {{2.0, 1.0}, {2.1, 1.1}}}}};
}

TEST(RenderComparison, BestIsMarkedWithoutColour) {
  EXPECT_EQ(RenderComparison(Two(), {}),
            "loss at equal tokens\n"
            "JOB     ACTIVATION     500k       1M\n"
            "moe-a   polynorm(3)  2.5000   1.5000\n"
            "moe-bb  relu         2.4000*  1.2500*\n"
            "\n"
            "val_loss/far at equal tokens\n"
            "JOB     ACTIVATION     500k       1M\n"
            "moe-a   polynorm(3)  3.0000*  2.0000*\n"
            "moe-bb  relu         3.0000*  2.5000\n"
            "\n"
            "val_loss/near at equal tokens\n"
            "JOB     ACTIVATION     500k       1M\n"
            "moe-a   polynorm(3)  2.0000*  1.0000*\n"
            "moe-bb  relu         2.1000   1.1000\n"
            "\n"
            "Who converged best: mean of val_loss/far, val_loss/near at 1M tokens\n"
            "RANK  JOB     ACTIVATION     LOSS   BEHIND  PARAMS  TOK/S\n"
            "   1  moe-a   polynorm(3)  1.5000        -    165k    12k\n"
            "   2  moe-bb  relu         1.8000  +0.3000    165k      -\n"
            "One run each: another seed may rank them otherwise. `polyctl ablation` compares over seeds.\n");
}

TEST(RenderComparison, BestIsBoldWithColour) {
  const std::string text = RenderComparison(Two(), {.colour = true});
  EXPECT_THAT(text, HasSubstr("\033[1m2.4000\033[0m"));
  EXPECT_THAT(text, HasSubstr("2.5000  "));
  EXPECT_EQ(text.find('*'), std::string::npos);
}

TEST(RenderComparison, NotANumberIsNeverBestAndRanksLast) {
  Comparison comparison{.jobs = {{"diverged"}, {"fine"}}, .tokens = {100}, .metrics = {{"loss", {{std::nan("")}, {9.0}}}}};
  EXPECT_THAT(RenderComparison(comparison, {}), HasSubstr("fine                  9.0000*\n"));
  const auto ranking = Rank(comparison);
  ASSERT_TRUE(ranking.has_value());
  EXPECT_EQ(ranking->order[0].job, 1u);
  EXPECT_EQ(ranking->order[1].job, 0u);
  comparison.metrics[0].values[1][0] = std::nan("");
  EXPECT_EQ(RenderComparison(comparison, {}).find('*'), std::string::npos) << "all diverged: none is best";
}

TEST(Rank, AtTheLastMilestoneThatEveryJobHas) {
  Comparison comparison = Two();
  comparison.metrics[2].values[0][1] = std::nullopt;
  const auto ranking = Rank(comparison);
  ASSERT_TRUE(ranking.has_value());
  EXPECT_EQ(ranking->tokens, 500'000u);
  EXPECT_THAT(ranking->metrics, ElementsAre("val_loss/far", "val_loss/near"));
  EXPECT_THAT(RenderComparison(comparison, {}), HasSubstr("moe-a   polynorm(3)  2.0000*       -\n"));
}

TEST(Rank, ByTheTrainingLossWhereNothingIsValidated) {
  Comparison comparison = Two();
  comparison.metrics.resize(1);
  const auto ranking = Rank(comparison);
  ASSERT_TRUE(ranking.has_value());
  EXPECT_THAT(ranking->metrics, ElementsAre("loss"));
  EXPECT_EQ(ranking->order[0].job, 1u);
  EXPECT_DOUBLE_EQ(ranking->order[1].behind, 0.25);
}

TEST(RenderComparison, SaysWhenThereIsNoRankingYet) {
  Comparison comparison = Two();
  for (auto& row : comparison.metrics[1].values) row = {std::nullopt, std::nullopt};
  EXPECT_THAT(RenderComparison(comparison, {}), HasSubstr("No ranking yet"));
  EXPECT_FALSE(Rank({}).has_value());
}

}  // namespace
}  // namespace polymoe::polyctl
