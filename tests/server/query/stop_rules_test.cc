// Which runs are stopped, when, and why; and that more points never change a decision.
#include "server/query/stop_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <random>
#include <utility>

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Optional;
using ::testing::Pair;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
using Means = std::map<uint64_t, double>;

std::vector<Point> Series(const std::vector<std::pair<uint64_t, double>>& values) {
  std::vector<Point> points;
  for (const auto& [tokens, value] : values)
    points.push_back({.attempt = 1, .step = points.size() + 1, .tokens = tokens, .value = value});
  return points;
}

TEST(StopRules, AMeanIsOverAllSets) {
  EXPECT_THAT(ValidationMeans({Series({{10, 1}, {20, 2}, {30, 5}}), Series({{10, 3}, {20, 4}})}),
              ElementsAre(Pair(10, 2), Pair(20, 3)));
  EXPECT_TRUE(ValidationMeans({Series({{10, 1}}), {}}).empty());
}

TEST(StopRules, HopelessAtTheFirstEqualTokens) {
  const Means baseline = {{10, 3}, {20, 2}, {30, 1}};
  EXPECT_EQ(FindHopeless(Means{{10, 9}, {20, 2.5}, {30, 1.2}}, baseline, 0.5, 20), std::nullopt) << "0.5 is not more than 0.5";
  EXPECT_THAT(FindHopeless(Means{{10, 9}, {20, 2.6}, {30, 9}}, baseline, 0.5, 20),
              Optional(Eq("its validation loss at 20 tokens, 2.6000, is 0.6000 above the baseline's (hopelessNats: 0.5)")));
  EXPECT_EQ(FindHopeless(Means{{10, 9}}, baseline, 0.5, 20), std::nullopt) << "too early";
  EXPECT_EQ(FindHopeless(Means{{25, 9}, {40, 9}}, baseline, 0.5, 20), std::nullopt) << "at no equal tokens";
  EXPECT_THAT(FindHopeless(Means{{20, kNan}}, baseline, 0.5, 20), Optional(Eq("its validation loss at 20 tokens is not a number")));
  EXPECT_EQ(FindHopeless(Means{{20, 9}}, Means{{20, kNan}}, 0.5, 20), std::nullopt);
}

TEST(StopRules, Hundredths) {
  EXPECT_EQ(HundredthOf(0, 1000), 1u);
  EXPECT_EQ(HundredthOf(10, 1000), 1u);
  EXPECT_EQ(HundredthOf(11, 1000), 2u);
  EXPECT_EQ(HundredthOf(990, 1000), 99u);
  EXPECT_EQ(HundredthOf(991, 1000), 100u);
  EXPECT_EQ(HundredthOf(1005, 1000), 100u);
  EXPECT_EQ(HundredthOf(3, 7), 43u) << "a budget of few tokens";
}

TEST(StopRules, DivergedAgainstItsOwnLowest) {
  // Two points a hundredth of 10 tokens.
  EXPECT_EQ(FindDiverged(Series({{5, 3}, {10, 1}, {15, 2}, {20, 4}, {25, 9}}), 1, 1000), std::nullopt)
      << "3 is 1 above 2, not more, and the third is not over";
  EXPECT_THAT(FindDiverged(Series({{5, 3}, {10, 1}, {15, 3}, {20, 4}, {25, 0}}), 1, 1000),
              Optional(Eq("its training loss up to 20 tokens, 3.5000, is 1.5000 above its lowest (divergedNats: 1)")));
  EXPECT_EQ(FindDiverged(Series({{5, 1}, {15, 2}, {25, 3}, {35, 1.9}}), 2, 1000), std::nullopt)
      << "not above the lowest by so much";
  EXPECT_THAT(FindDiverged(Series({{5, 1}, {995, 1}, {1003, 9}}), 1, 1000), Optional(::testing::HasSubstr("up to 1003 tokens")))
      << "the last one ends with the budget";
}

TEST(StopRules, NotANumber) {
  EXPECT_EQ(FindDiverged(Series({{5, 3}, {10, kNan}, {15, 3}, {25, 3}}), 1, 1000), std::nullopt) << "one step was skipped";
  EXPECT_THAT(FindDiverged(Series({{5, 3}, {15, kNan}, {20, kNan}, {25, 3}}), 1, 1000),
              Optional(Eq("its training loss up to 20 tokens is not a number")));
  EXPECT_EQ(FindDiverged({}, 1, 1000), std::nullopt);
}

// What was decided on some of the points is decided on all of them, in the same words; however far each of the two runs had come.
TEST(StopRules, MorePointsChangeNoDecision) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> noise(0, 0.4);
    std::vector<Point> loss, run, baseline;
    for (uint64_t tokens = 3; tokens < 1000; tokens += 3) loss.push_back({.tokens = tokens, .value = noise(random)});
    for (uint64_t tokens = 50; tokens <= 1000; tokens += 50) {
      run.push_back({.tokens = tokens, .value = noise(random)});
      baseline.push_back({.tokens = tokens, .value = noise(random)});
    }
    const auto upto = [](const std::vector<Point>& points, size_t n) {
      return std::vector<Point>(points.begin(), points.begin() + n);
    };
    const auto diverged = FindDiverged(loss, 0.9, 1000);
    for (size_t n = 0; n <= loss.size(); ++n) {
      if (const auto early = FindDiverged(upto(loss, n), 0.9, 1000)) {
        ASSERT_EQ(early, diverged) << "seed " << seed << ", " << n << " points";
      }
    }
    const auto hopeless = FindHopeless(ValidationMeans({run}), ValidationMeans({baseline}), 0.8, 500);
    for (size_t n = 0; n <= run.size(); ++n) {
      for (size_t m = 0; m <= baseline.size(); ++m) {
        const auto early = FindHopeless(ValidationMeans({upto(run, n)}), ValidationMeans({upto(baseline, m)}), 0.8, 500);
        if (early) {
          ASSERT_EQ(early, hopeless) << "seed " << seed << ", " << n << " and " << m << " points";
        }
      }
    }
  }
}

}  // namespace
}  // namespace polymoe
