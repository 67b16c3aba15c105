// The learning rate: closed forms at the points that matter; for any spec no jump, no rate out of range, no rise after the warm-up.
#include "worker/train/schedule.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "polymoe/v1/job_spec.pb.h"

namespace polymoe {
namespace {

v1::TrainSpec Spec(v1::ScheduleKind kind, uint64_t tokens, uint64_t warmup, double floor, double decay_ratio = 0.2) {
  v1::TrainSpec train;
  train.set_schedule(kind);
  train.set_tokens(tokens);
  train.set_warmup_tokens(warmup);
  train.set_learning_rate(2.0);
  train.set_min_learning_rate_ratio(floor);
  train.set_decay_ratio(decay_ratio);
  return train;
}

constexpr double kClose = 1e-14;

TEST(LearningRate, WarmsUpOnALineWhateverComesAfter) {
  for (const auto kind : {v1::SCHEDULE_KIND_CONSTANT, v1::SCHEDULE_KIND_COSINE, v1::SCHEDULE_KIND_WSD}) {
    const v1::TrainSpec train = Spec(kind, 1000, 200, 0.1);
    EXPECT_EQ(LearningRate(train, 0), 0);
    EXPECT_NEAR(LearningRate(train, 1), 0.01, kClose);
    EXPECT_NEAR(LearningRate(train, 50), 0.5, kClose);
    EXPECT_NEAR(LearningRate(train, 199), 1.99, kClose);
    EXPECT_EQ(LearningRate(train, 200), 2.0) << "the end of the warm-up is the peak";
  }
}

TEST(LearningRate, ConstantStaysAtThePeak) {
  const v1::TrainSpec train = Spec(v1::SCHEDULE_KIND_CONSTANT, 1000, 0, 0.1);
  for (const uint64_t at : {0, 500, 1000, 5000}) EXPECT_EQ(LearningRate(train, at), 2.0) << at;
}

TEST(LearningRate, CosineFallsFromPeakToFloor) {
  const v1::TrainSpec train = Spec(v1::SCHEDULE_KIND_COSINE, 1000, 200, 0.1);
  EXPECT_NEAR(LearningRate(train, 400), 0.2 + 1.8 * 0.5 * (1 + std::numbers::sqrt2 / 2), kClose) << "a quarter: cos 45 degrees";
  EXPECT_NEAR(LearningRate(train, 600), 1.1, kClose) << "the middle: half way between peak and floor";
  EXPECT_NEAR(LearningRate(train, 800), 0.2 + 1.8 * 0.5 * (1 - std::numbers::sqrt2 / 2), kClose);
  EXPECT_NEAR(LearningRate(train, 1000), 0.2, kClose);
  EXPECT_NEAR(LearningRate(train, 1'000'000), 0.2, kClose) << "past the end: the floor";
}

TEST(LearningRate, WsdStaysAndThenFallsOnALine) {
  const v1::TrainSpec train = Spec(v1::SCHEDULE_KIND_WSD, 1000, 100, 0.1, 0.4);
  EXPECT_EQ(LearningRate(train, 100), 2.0);
  EXPECT_EQ(LearningRate(train, 600), 2.0) << "the decay begins 40 % before the end";
  EXPECT_NEAR(LearningRate(train, 700), 2.0 - 1.8 * 0.25, kClose);
  EXPECT_NEAR(LearningRate(train, 800), 1.1, kClose);
  EXPECT_NEAR(LearningRate(train, 1000), 0.2, kClose);
  EXPECT_NEAR(LearningRate(train, 2000), 0.2, kClose);
}

TEST(LearningRate, WsdDecayNeverReachesIntoTheWarmUp) {
  const v1::TrainSpec train = Spec(v1::SCHEDULE_KIND_WSD, 1000, 400, 0, 1.0);
  EXPECT_EQ(LearningRate(train, 400), 2.0);
  EXPECT_NEAR(LearningRate(train, 700), 1.0, kClose);
  EXPECT_NEAR(LearningRate(train, 1000), 0, kClose);
}

TEST(LearningRate, AWarmUpOfTheWholeRunEndsAtThePeak) {
  for (const auto kind : {v1::SCHEDULE_KIND_CONSTANT, v1::SCHEDULE_KIND_COSINE, v1::SCHEDULE_KIND_WSD})
    EXPECT_EQ(LearningRate(Spec(kind, 1000, 1000, 0.1), 1000), 2.0);
}

TEST(LearningRate, NoJumpInRangeAndNoRiseAfterTheWarmUp) {
  const bool holds = rc::check([] {
    const auto kind = *rc::gen::element(v1::SCHEDULE_KIND_CONSTANT, v1::SCHEDULE_KIND_COSINE, v1::SCHEDULE_KIND_WSD);
    const uint64_t tokens = *rc::gen::inRange<uint64_t>(10, 2000), warmup = *rc::gen::inRange<uint64_t>(0, tokens - 5);
    const double floor = *rc::gen::inRange(0, 101) / 100.0, decay = *rc::gen::inRange(1, 101) / 100.0;
    const v1::TrainSpec train = Spec(kind, tokens, warmup, floor, decay);
    // The steepest that one token can be: the warm-up's line, the cosine's middle, the decay's line.
    const double falling = kind == v1::SCHEDULE_KIND_WSD ? std::min<double>(tokens - warmup, decay * tokens) : tokens - warmup;
    const double steepest = 2.0 * std::max(warmup == 0 ? 0 : 1.0 / warmup, std::numbers::pi / 2 / falling) + kClose;
    double before = LearningRate(train, 0);
    for (uint64_t at = 1; at <= tokens + 10; ++at) {
      const double rate = LearningRate(train, at);
      RC_ASSERT(std::abs(rate - before) <= steepest);
      RC_ASSERT(rate <= 2.0);
      if (at >= warmup) RC_ASSERT(rate >= 2.0 * floor - kClose);
      if (at > warmup) RC_ASSERT(rate <= before);
      before = rate;
    }
    RC_ASSERT(before == LearningRate(train, tokens));
  });
  EXPECT_TRUE(holds);
}

}  // namespace
}  // namespace polymoe
