#include "server/query/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include <nlohmann/json.hpp>

#include "common/file.h"

namespace polymoe {
namespace {

using nlohmann::json;
using ::testing::Optional;
using ::testing::Pointwise;

BySeed Seeds(const std::vector<double>& values) {
  BySeed by_seed;
  for (size_t i = 0; i < values.size(); ++i) by_seed[i + 1] = values[i];
  return by_seed;
}

json Golden() {
  return json::parse(*ReadFile(POLYMOE_SOURCE_DIR "/tests/golden/statistics.json"));
}

TEST(Statistics, AgreeWithScipy) {
  const json cases = Golden()["cases"];
  for (const json& golden : cases) {
    const auto arm = golden["arm"].get<std::vector<double>>(), baseline = golden["baseline"].get<std::vector<double>>();
    const PairedDifference difference = ComparePairs(Seeds(arm), Seeds(baseline));
    EXPECT_EQ(difference.pairs, arm.size());
    EXPECT_NEAR(difference.mean, golden["mean"], 1e-12);
    EXPECT_NEAR(difference.low, golden["low"], 1e-9);
    EXPECT_NEAR(difference.high, golden["high"], 1e-9);
    EXPECT_NEAR(difference.p_value, golden["p_value"], 1e-9);
    EXPECT_NEAR(Summarise(arm).sd, golden["sd"], 1e-12);
  }
}

TEST(Statistics, HolmAgreesWithItsDefinition) {
  EXPECT_THAT(HolmAdjust(Golden()["p_values"].get<std::vector<double>>()),
              Pointwise(::testing::DoubleEq(), Golden()["holm"].get<std::vector<double>>()));
}

TEST(Summarise, SmallSamples) {
  EXPECT_EQ(Summarise({}).n, 0u);
  EXPECT_EQ(Summarise({3}).sd, 0);
  const Sample two = Summarise({1, 3});
  EXPECT_EQ(two.mean, 2);
  EXPECT_DOUBLE_EQ(two.sd, std::sqrt(2.0));
  EXPECT_EQ(two.min, 1);
  EXPECT_EQ(two.max, 3);
}

TEST(ComparePairs, OnlySeedsOfBothCount) {
  const PairedDifference difference = ComparePairs({{1, 5}, {2, 7}, {4, 100}}, {{1, 4}, {2, 4}, {3, -100}});
  EXPECT_EQ(difference.pairs, 2u);
  EXPECT_EQ(difference.mean, 2);
}

TEST(ComparePairs, OnePairSaysNothing) {
  const PairedDifference difference = ComparePairs({{1, 5}}, {{1, 4}});
  EXPECT_EQ(difference.mean, 1);
  EXPECT_EQ(difference.p_value, 1);
  EXPECT_EQ(difference.low, difference.high);
}

TEST(ComparePairs, TheSameIsNoDifferenceAndAConstantOneIsCertain) {
  EXPECT_EQ(ComparePairs(Seeds({1, 2, 3}), Seeds({1, 2, 3})).p_value, 1);
  EXPECT_EQ(ComparePairs(Seeds({2, 3, 4}), Seeds({1, 2, 3})).p_value, 0);
}

TEST(ComparePairs, WhatBothArmsShareCancels) {
  EXPECT_TRUE(rc::check([] {
    const auto n = *rc::gen::inRange(2, 8);
    BySeed arm, baseline, shifted_arm, shifted_baseline;
    for (int seed = 0; seed < n; ++seed) {
      // Whole numbers, so that the shift is exact.
      const int a = *rc::gen::inRange(-1000, 1000), b = *rc::gen::inRange(-1000, 1000), shift = *rc::gen::inRange(-1000, 1000);
      arm[seed] = a;
      baseline[seed] = b;
      shifted_arm[seed] = a + shift;
      shifted_baseline[seed] = b + shift;
    }
    const PairedDifference before = ComparePairs(arm, baseline), after = ComparePairs(shifted_arm, shifted_baseline);
    RC_ASSERT(before.mean == after.mean && before.low == after.low && before.p_value == after.p_value);
    const PairedDifference mirrored = ComparePairs(baseline, arm);
    RC_ASSERT(mirrored.mean == -before.mean && mirrored.p_value == before.p_value);
  }));
}

TEST(HolmAdjust, NeverSaysLessThanTheTestItself) {
  EXPECT_TRUE(rc::check([] {
    const auto parts = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 1001));
    std::vector<double> p_values;
    for (const int part : parts) p_values.push_back(part / 1000.0);
    const std::vector<double> adjusted = HolmAdjust(p_values);
    for (size_t i = 0; i < p_values.size(); ++i) {
      RC_ASSERT(adjusted[i] >= p_values[i] && adjusted[i] <= 1);
      for (size_t j = 0; j < p_values.size(); ++j) RC_ASSERT(p_values[i] > p_values[j] || adjusted[i] <= adjusted[j]);
    }
  }));
}

// Six arms of which the second trains `true_difference` better than the others: how often it wins (or, without a difference, any arm
// does), by the test that the service makes.
double ShareOfWins(int trials, int seeds, double true_difference, bool adjust) {
  std::mt19937_64 random(7);  // fixed: the bound below is three standard errors, a fair seed in 740 would miss it
  std::normal_distribution<double> of_seed(3.5, 0.1), of_run(0, 0.01);
  int wins = 0;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<double> data;
    for (int s = 0; s < seeds; ++s) data.push_back(of_seed(random));
    std::vector<BySeed> arms(6);
    for (size_t a = 0; a < arms.size(); ++a) {
      for (int s = 0; s < seeds; ++s) arms[a][s] = data[s] + of_run(random) - (a == 1 ? true_difference : 0);
    }
    std::vector<double> p_values;
    for (size_t a = 1; a < arms.size(); ++a) p_values.push_back(ComparePairs(arms[a], arms[0]).p_value);
    if (adjust) p_values = HolmAdjust(p_values);
    wins += true_difference != 0 ? p_values[0] < 0.05 : *std::min_element(p_values.begin(), p_values.end()) < 0.05;
  }
  return static_cast<double>(wins) / trials;
}

TEST(Verdicts, NoiseWinsAtMostOnceInTwenty) {
  constexpr int kTrials = 4000;
  const double three_errors = 3 * std::sqrt(0.05 * 0.95 / kTrials);
  EXPECT_LE(ShareOfWins(kTrials, 3, 0, true), 0.05 + three_errors);
  EXPECT_GT(ShareOfWins(kTrials, 3, 0, false), 0.05 + three_errors) << "without the adjustment it does; else this shows nothing";
}

TEST(Verdicts, ARealDifferenceIsSeen) {
  EXPECT_GT(ShareOfWins(1000, 5, 0.1, true), 0.95) << "seven standard deviations of a difference, five seeds";
}

TEST(TokensToReach, IsInterpolatedWhereTheCurveFirstComesDown) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(TokensToReach({100, 200, 300}, {5, 3, 2}, 4), Optional(150.0));
  EXPECT_THAT(TokensToReach({100, 200, 300}, {5, kNone, 3}, 4), Optional(200.0));
  EXPECT_THAT(TokensToReach({100, 200, 300}, {5, 4, 6}, 4), Optional(200.0));
  EXPECT_THAT(TokensToReach({100, 200, 300}, {3, 2, 1}, 4), Optional(100.0));
  EXPECT_EQ(TokensToReach({100, 200, 300}, {5, 4.5, 4.1}, 4), std::nullopt);
  EXPECT_EQ(TokensToReach({}, {}, 4), std::nullopt);
}

}  // namespace
}  // namespace polymoe
