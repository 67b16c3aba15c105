// The order in which jobs start, where their ranks go, and the sentence that each waiting job gets.
#include "server/scheduler/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "absl/strings/str_cat.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kNow = 1'000'000;
constexpr int64_t kBypass = 60'000;

WaitingJob Job(const std::string& id, std::vector<uint32_t> ranks, int64_t waiting_ms = 0, int64_t backoff_ms = 0) {
  return {.id = id, .ranks = std::move(ranks), .waiting_since_ms = kNow - waiting_ms, .not_before_ms = kNow + backoff_ms};
}

// Its last `free` slots are free.
OpenWorker Worker(const std::string& name, uint32_t slots, uint32_t free) {
  OpenWorker worker{.name = name, .slots = slots};
  for (uint32_t slot = slots - free; slot < slots; ++slot) worker.free_slots.push_back(slot);
  return worker;
}

Plan PlanFor(std::vector<WaitingJob> jobs, std::vector<OpenWorker> workers) {
  return Schedule({.jobs = std::move(jobs), .workers = std::move(workers)}, {.max_bypass_ms = kBypass}, kNow);
}

// "job: worker/slot ..."
std::vector<std::string> Starts(const Plan& plan) {
  std::vector<std::string> starts;
  for (const Start& start : plan.starts) {
    std::string& text = starts.emplace_back(absl::StrCat(start.job, ":"));
    for (const SlotRef& slot : start.slots) absl::StrAppend(&text, " ", slot.worker, "/", slot.slot);
  }
  return starts;
}

// "job: sentence"
std::vector<std::string> Waits(const Plan& plan) {
  std::vector<std::string> waits;
  for (const Wait& wait : plan.waits) waits.push_back(absl::StrCat(wait.job, ": ", wait.detail));
  return waits;
}

std::optional<WaitKind> KindOf(const Plan& plan, const std::string& job) {
  for (const Wait& wait : plan.waits) {
    if (wait.job == job) return wait.kind;
  }
  return std::nullopt;
}

TEST(Schedule, NothingToDo) {
  const Plan plan = PlanFor({}, {Worker("a", 2, 2)});
  EXPECT_THAT(plan.starts, IsEmpty());
  EXPECT_THAT(plan.waits, IsEmpty());
}

TEST(Schedule, TheOldestStartsFirst) {
  const Plan plan = PlanFor({Job("old", {1}), Job("young", {1})}, {Worker("a", 1, 1)});
  EXPECT_THAT(Starts(plan), ElementsAre("old: a/0"));
  EXPECT_EQ(KindOf(plan, "young"), WaitKind::kSlotsBusy);
}

TEST(Schedule, AYoungerJobUsesWhatAnOlderOneCannot) {
  const Plan plan = PlanFor({Job("gang", {3}), Job("small", {1})}, {Worker("a", 4, 2)});
  EXPECT_THAT(Starts(plan), ElementsAre("small: a/2"));
  EXPECT_EQ(KindOf(plan, "gang"), WaitKind::kSlotsBusy);
}

TEST(Schedule, AGangStartsWholeOrNotAtAll) {
  EXPECT_THAT(Starts(PlanFor({Job("gang", {3})}, {Worker("a", 2, 2), Worker("b", 2, 1)})), ElementsAre("gang: a/0 a/1 b/1"));
  const Plan short_of_one = PlanFor({Job("gang", {4})}, {Worker("a", 2, 2), Worker("b", 2, 1)});
  EXPECT_THAT(short_of_one.starts, IsEmpty());
  EXPECT_EQ(KindOf(short_of_one, "gang"), WaitKind::kSlotsBusy);
}

TEST(Schedule, TheSmallestWorkerThatHoldsTheGangGetsIt) {
  EXPECT_THAT(Starts(PlanFor({Job("j", {2})}, {Worker("a", 8, 8), Worker("b", 2, 2), Worker("c", 4, 4)})),
              ElementsAre("j: b/0 b/1"));
  // Free slots count, not all slots.
  EXPECT_THAT(Starts(PlanFor({Job("j", {2})}, {Worker("a", 3, 3), Worker("b", 8, 2)})), ElementsAre("j: b/6 b/7"));
}

TEST(Schedule, AGangThatMustBeSplitUsesFewWorkers) {
  // The largest first, and the rest where it fits most tightly.
  EXPECT_THAT(Starts(PlanFor({Job("j", {5})}, {Worker("a", 2, 2), Worker("b", 4, 4), Worker("c", 1, 1), Worker("d", 3, 3)})),
              ElementsAre("j: b/0 b/1 b/2 b/3 c/0"));
}

TEST(Schedule, EqualWorkersAreTakenInOrder) {
  EXPECT_THAT(
      Starts(PlanFor({Job("x", {1}), Job("y", {1}), Job("z", {1})}, {Worker("a", 1, 1), Worker("b", 1, 1), Worker("c", 1, 1)})),
      ElementsAre("x: a/0", "y: b/0", "z: c/0"));
}

TEST(Schedule, EveryReasonHasItsSentence) {
  EXPECT_THAT(Waits(PlanFor({Job("j", {1})}, {})),
              ElementsAre("j: needs 1 slot, no worker that takes ranks is connected; start a polymoe-worker"));
  EXPECT_THAT(
      Waits(PlanFor({Job("j", {5})}, {Worker("a", 1, 1), Worker("b", 2, 0)})),
      ElementsAre("j: needs 5 slots, all connected workers together have 3 slots; add workers or lower spec.resources.ranks"));
  EXPECT_THAT(Waits(PlanFor({Job("j", {3})}, {Worker("a", 1, 1), Worker("b", 2, 0)})),
              ElementsAre("j: needs 3 slots, 1 of 3 connected are free; waits for running jobs to end"));
  EXPECT_THAT(Waits(PlanFor({Job("old", {2}, kBypass), Job("j", {1})}, {Worker("a", 2, 1)})),
              ElementsAre("old: needs 2 slots, 1 of 2 connected are free; waits for running jobs to end",
                          "j: needs 1 slot; old has waited longest and gets the next free slots"));
  EXPECT_THAT(Waits(PlanFor({Job("j", {1}, 0, 4'001)}, {Worker("a", 1, 1)})),
              ElementsAre("j: retries in 5 s after a failed attempt"));
}

TEST(Schedule, EveryReasonHasItsKind) {
  EXPECT_EQ(KindOf(PlanFor({Job("j", {1})}, {}), "j"), WaitKind::kNoWorkers);
  EXPECT_EQ(KindOf(PlanFor({Job("j", {5})}, {Worker("a", 4, 4)}), "j"), WaitKind::kClusterTooSmall);
  EXPECT_EQ(KindOf(PlanFor({Job("j", {4})}, {Worker("a", 4, 3)}), "j"), WaitKind::kSlotsBusy);
  EXPECT_EQ(KindOf(PlanFor({Job("old", {4}, kBypass), Job("j", {1})}, {Worker("a", 4, 3)}), "j"), WaitKind::kBehindOtherJob);
  EXPECT_EQ(KindOf(PlanFor({Job("j", {1}, 0, 1)}, {Worker("a", 4, 4)}), "j"), WaitKind::kBackoff);
}

TEST(Schedule, AnElasticJobTakesTheMostThatFits) {
  const std::vector<uint32_t> two_to_eight = {8, 4, 2};
  EXPECT_THAT(Starts(PlanFor({Job("j", two_to_eight)}, {Worker("a", 8, 8)})), ElementsAre("j: a/0 a/1 a/2 a/3 a/4 a/5 a/6 a/7"));
  EXPECT_THAT(Starts(PlanFor({Job("j", two_to_eight)}, {Worker("a", 8, 7)})), ElementsAre("j: a/1 a/2 a/3 a/4"));
  EXPECT_THAT(Starts(PlanFor({Job("j", two_to_eight)}, {Worker("a", 2, 2), Worker("b", 4, 1)})), ElementsAre("j: a/0 a/1"));
  EXPECT_THAT(Starts(PlanFor({Job("j", two_to_eight), Job("k", {1})}, {Worker("a", 4, 3)})), ElementsAre("j: a/1 a/2", "k: a/3"));
}

TEST(Schedule, AnElasticJobWaitsForItsMinimum) {
  EXPECT_THAT(Waits(PlanFor({Job("j", {8, 4, 2})}, {Worker("a", 4, 1)})),
              ElementsAre("j: needs 2 to 8 slots, 1 of 4 connected are free; waits for running jobs to end"));
  EXPECT_THAT(Waits(PlanFor({Job("j", {8, 4, 2})}, {Worker("a", 1, 1)})),
              ElementsAre("j: needs 2 to 8 slots, all connected workers together have 1 slot; add workers or lower "
                          "spec.resources.minRanks"));
}

TEST(Schedule, ABackoffEndsAtItsTime) {
  EXPECT_THAT(Starts(PlanFor({Job("j", {1}, 0, 1)}, {Worker("a", 1, 1)})), IsEmpty());
  EXPECT_THAT(Starts(PlanFor({Job("j", {1}, 0, 0)}, {Worker("a", 1, 1)})), ElementsAre("j: a/0"));
}

TEST(Schedule, AJobThatWaitedTooLongIsPassedNoMore) {
  const std::vector<OpenWorker> workers = {Worker("a", 4, 2)};
  EXPECT_THAT(Starts(PlanFor({Job("gang", {3}, kBypass - 1), Job("small", {1})}, workers)), ElementsAre("small: a/2"));
  EXPECT_THAT(Starts(PlanFor({Job("gang", {3}, kBypass), Job("small", {1})}, workers)), IsEmpty());
}

TEST(Schedule, OlderJobsStillPassOneThatWaitedTooLong) {
  const Plan plan = PlanFor({Job("older", {1}), Job("gang", {4}, kBypass), Job("younger", {1})}, {Worker("a", 4, 2)});
  EXPECT_THAT(Starts(plan), ElementsAre("older: a/2"));
  EXPECT_EQ(KindOf(plan, "younger"), WaitKind::kBehindOtherJob);
}

TEST(Schedule, AJobThatNoSlotCouldHelpHoldsNobodyUp) {
  const Plan plan = PlanFor({Job("huge", {9}, kBypass), Job("later", {3}, kBypass, 1), Job("small", {1})}, {Worker("a", 4, 2)});
  EXPECT_THAT(Starts(plan), ElementsAre("small: a/2"));
}

}  // namespace
}  // namespace polymoe
