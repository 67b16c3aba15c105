#include "worker/checkpoint/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "tests/fakes/temp_dir.h"
#include "tests/worker/checkpoint/sample_state.h"
#include "worker/checkpoint/local_storage.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

std::vector<CheckpointInfo> OfTokens(const std::vector<std::optional<uint64_t>>& tokens) {
  std::vector<CheckpointInfo> checkpoints;
  for (const auto& t : tokens) checkpoints.push_back({checkpoints.size() + 1, t, ""});
  return checkpoints;
}

std::vector<uint64_t> Removed(const std::vector<std::optional<uint64_t>>& tokens, const Retention& retention) {
  std::vector<uint64_t> steps;
  for (const CheckpointInfo& checkpoint : Superfluous(OfTokens(tokens), retention)) steps.push_back(checkpoint.step);
  return steps;
}

TEST(Retention, KeepsTheNewest) {
  EXPECT_THAT(Removed({10, 20, 30, 40}, {.keep_last = 2}), ElementsAre(1, 2));
  EXPECT_THAT(Removed({10, 20}, {.keep_last = 5}), ElementsAre());
  EXPECT_THAT(Removed({10, 20}, {.keep_last = 0}), ElementsAre(1)) << "never all";
  EXPECT_THAT(Removed({}, {.keep_last = 1}), ElementsAre());
}

TEST(Retention, KeepsTheFirstAtOrPastEachMultiple) {
  EXPECT_THAT(Removed({90, 100, 110, 190, 210, 220, 530, 540, 550}, {.keep_last = 1, .keep_every = 100}),
              ElementsAre(1, 3, 4, 6, 8));
}

TEST(Retention, WhatCannotBeReadIsNeitherCountedNorRemoved) {
  EXPECT_THAT(Removed({10, std::nullopt, 30, std::nullopt}, {.keep_last = 1}), ElementsAre(1));
  EXPECT_THAT(Removed({10, std::nullopt}, {.keep_last = 1}), ElementsAre());
}

// Whatever was removed before, the same ones stay.
TEST(Retention, ManyRoundsKeepWhatOneWould) {
  EXPECT_TRUE(rc::check([] {
    const Retention retention{.keep_last = *rc::gen::inRange<uint32_t>(1, 4), .keep_every = *rc::gen::inRange<uint64_t>(0, 50)};
    const auto gaps = *rc::gen::container<std::vector<uint64_t>>(rc::gen::inRange<uint64_t>(1, 60));
    std::vector<CheckpointInfo> all, left;
    uint64_t tokens = 0;
    for (const uint64_t gap : gaps) {
      all.push_back({all.size() + 1, tokens += gap, ""});
      left.push_back(all.back());
      for (const CheckpointInfo& gone : Superfluous(left, retention))
        std::erase_if(left, [&](const auto& c) { return c.step == gone.step; });
    }
    std::set<uint64_t> expected;
    for (const CheckpointInfo& checkpoint : all) expected.insert(checkpoint.step);
    for (const CheckpointInfo& gone : Superfluous(all, retention)) expected.erase(gone.step);
    std::set<uint64_t> steps;
    for (const CheckpointInfo& checkpoint : left) steps.insert(checkpoint.step);
    RC_ASSERT(steps == expected);
    const bool newest_stays = all.empty() || steps.contains(all.back().step);
    RC_ASSERT(newest_stays);
  }));
}

TEST(Retention, CheckpointsComeAndGo) {
  const TempDir dir;
  LocalStorage storage(dir.path());
  for (uint64_t step = 1; step <= 12; ++step) {  // of 10 tokens each
    SampleState values(static_cast<float>(step));
    ASSERT_TRUE(SaveShares(storage, At(step), values, 2, 1, {.keep_last = 2, .keep_every = 45}).ok());
  }
  EXPECT_THAT(Steps(storage), ElementsAre(5, 9, 11, 12));
  for (const uint64_t step : {5, 9, 11, 12}) ExpectLoads(storage, step);
}

}  // namespace
}  // namespace polymoe
