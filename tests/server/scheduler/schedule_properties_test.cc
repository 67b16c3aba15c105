// What holds of every plan, whatever the jobs and workers: no slot twice, no half gang, one reason for each job that waits and a
// remedy in it that helps, no starvation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "server/scheduler/schedule.h"

namespace polymoe {
namespace {

constexpr int64_t kNow = 1'000'000;
constexpr SchedulerConfig kConfig = {.max_bypass_ms = 1000};

// Of a fixed or an elastic job.
std::vector<uint32_t> AnyRanks() {
  const auto choices = *rc::gen::inRange<uint32_t>(1, 1 << 8);  // a bit for each number
  std::vector<uint32_t> ranks;
  for (uint32_t n = 8; n > 0; --n) {
    if ((choices >> (n - 1) & 1) != 0) ranks.push_back(n);
  }
  if (*rc::gen::arbitrary<bool>()) ranks.resize(1);
  return ranks;
}

SchedulerInput AnyInput() {
  SchedulerInput input;
  const int workers = *rc::gen::inRange(0, 5), jobs = *rc::gen::inRange(0, 8);
  for (int w = 0; w < workers; ++w) {
    OpenWorker worker{.name = absl::StrCat("w", w), .slots = *rc::gen::inRange<uint32_t>(0, 6)};
    for (uint32_t slot = 0; slot < worker.slots; ++slot) {
      if (*rc::gen::arbitrary<bool>()) worker.free_slots.push_back(slot);
    }
    input.workers.push_back(std::move(worker));
  }
  for (int j = 0; j < jobs; ++j) {
    input.jobs.push_back({.id = absl::StrCat("job", j),
                          .ranks = AnyRanks(),
                          .waiting_since_ms = kNow - *rc::gen::inRange<int64_t>(0, 2000),
                          .not_before_ms = kNow + *rc::gen::inRange<int64_t>(-2000, 1000)});
  }
  return input;
}

const WaitingJob& Find(const SchedulerInput& input, const std::string& id) {
  return *std::find_if(input.jobs.begin(), input.jobs.end(), [&](const WaitingJob& job) { return job.id == id; });
}

const Wait* FindWait(const Plan& plan, const std::string& id) {
  const auto it = std::find_if(plan.waits.begin(), plan.waits.end(), [&](const Wait& wait) { return wait.job == id; });
  return it == plan.waits.end() ? nullptr : &*it;
}

bool Same(const Plan& a, const Plan& b) {
  return std::equal(a.starts.begin(), a.starts.end(), b.starts.begin(), b.starts.end(),
                    [](const Start& x, const Start& y) {
                      return x.job == y.job && std::equal(x.slots.begin(), x.slots.end(), y.slots.begin(), y.slots.end(),
                                                          [](const SlotRef& s, const SlotRef& t) {
                                                            return s.worker == t.worker && s.slot == t.slot;
                                                          });
                    }) &&
         std::equal(a.waits.begin(), a.waits.end(), b.waits.begin(), b.waits.end(),
                    [](const Wait& x, const Wait& y) { return x.job == y.job && x.kind == y.kind && x.detail == y.detail; });
}

// Each start has one of the job's numbers of ranks, and a larger one would not have fitted into what older jobs left.
TEST(ScheduleProperties, OnlyFreeSlotsEachOnceAndGangsWholeAndLarge) {
  const bool holds = rc::check([] {
    const SchedulerInput input = AnyInput();
    std::set<std::pair<std::string, uint32_t>> free;
    for (const OpenWorker& worker : input.workers) {
      for (const uint32_t slot : worker.free_slots) free.emplace(worker.name, slot);
    }
    for (const Start& start : Schedule(input, kConfig, kNow).starts) {
      const std::vector<uint32_t>& ranks = Find(input, start.job).ranks;
      const auto taken = std::find(ranks.begin(), ranks.end(), start.slots.size());
      RC_ASSERT(taken != ranks.end());
      if (taken != ranks.begin()) RC_ASSERT(*std::prev(taken) > free.size());
      for (const SlotRef& slot : start.slots) RC_ASSERT(free.erase({slot.worker, slot.slot}) == 1u);
    }
  });
  EXPECT_TRUE(holds);
}

TEST(ScheduleProperties, EveryJobStartsOrWaitsForOneReason) {
  const bool holds = rc::check([] {
    const SchedulerInput input = AnyInput();
    const Plan plan = Schedule(input, kConfig, kNow);
    std::multiset<std::string> seen, jobs;
    for (const WaitingJob& job : input.jobs) jobs.insert(job.id);
    for (const Start& start : plan.starts) seen.insert(start.job);
    for (const Wait& wait : plan.waits) {
      seen.insert(wait.job);
      RC_ASSERT(!wait.detail.empty());
    }
    RC_ASSERT(seen == jobs);
  });
  EXPECT_TRUE(holds);
}

TEST(ScheduleProperties, NoJobWaitsForSlotsThatArePlentiful) {
  const bool holds = rc::check([] {
    const SchedulerInput input = AnyInput();
    const Plan plan = Schedule(input, kConfig, kNow);
    size_t left = 0;
    for (const OpenWorker& worker : input.workers) left += worker.free_slots.size();
    for (const Start& start : plan.starts) left -= start.slots.size();
    for (const Wait& wait : plan.waits) {
      if (wait.kind == WaitKind::kSlotsBusy || wait.kind == WaitKind::kClusterTooSmall) {
        RC_ASSERT(Find(input, wait.job).ranks.back() > left);
      }
    }
  });
  EXPECT_TRUE(holds);
}

TEST(ScheduleProperties, TheSameInputGivesTheSamePlan) {
  const bool holds = rc::check([] {
    const SchedulerInput input = AnyInput();
    RC_ASSERT(Same(Schedule(input, kConfig, kNow), Schedule(input, kConfig, kNow)));
  });
  EXPECT_TRUE(holds);
}

// Younger jobs never change what older ones get.
TEST(ScheduleProperties, AYoungerJobTakesNothingFromOlderOnes) {
  const bool holds = rc::check([] {
    SchedulerInput input = AnyInput();
    const Plan with = Schedule(input, kConfig, kNow);
    RC_PRE(!input.jobs.empty());
    const std::string youngest = input.jobs.back().id;
    input.jobs.pop_back();
    Plan without = Schedule(input, kConfig, kNow);
    for (const Start& start : with.starts) {
      if (start.job == youngest) without.starts.push_back(start);
    }
    if (const Wait* wait = FindWait(with, youngest); wait != nullptr) without.waits.push_back(*wait);
    RC_ASSERT(Same(with, without));
  });
  EXPECT_TRUE(holds);
}

// Does what the wait's sentence says would help.
void ApplyRemedy(const Wait& wait, SchedulerInput& input, int64_t& now_ms) {
  const WaitingJob job = Find(input, wait.job);
  uint32_t total = 0;
  for (const OpenWorker& worker : input.workers) total += worker.slots;
  switch (wait.kind) {
    case WaitKind::kBackoff:
      now_ms = job.not_before_ms;
      break;
    case WaitKind::kNoWorkers:
    case WaitKind::kClusterTooSmall: {
      OpenWorker added{.name = absl::StrCat("x", input.workers.size()), .slots = job.ranks.back() - total};
      for (uint32_t slot = 0; slot < added.slots; ++slot) added.free_slots.push_back(slot);
      input.workers.push_back(std::move(added));
      break;
    }
    case WaitKind::kSlotsBusy: {  // the jobs that run end, and those that would run first
      std::erase_if(input.jobs, [&](const WaitingJob& other) { return other.id < job.id; });
      for (OpenWorker& worker : input.workers) {
        worker.free_slots.clear();
        for (uint32_t slot = 0; slot < worker.slots; ++slot) worker.free_slots.push_back(slot);
      }
      break;
    }
    case WaitKind::kBehindOtherJob:  // that one runs and ends
      RC_ASSERT(std::erase_if(input.jobs, [&](const WaitingJob& other) {
                  return other.id < job.id && absl::StrContains(wait.detail, absl::StrCat("; ", other.id, " has waited"));
                }) == 1u);
      break;
  }
}

TEST(ScheduleProperties, TheStatedRemedyHelps) {
  const bool holds = rc::check([] {
    SchedulerInput input = AnyInput();
    RC_PRE(!input.jobs.empty());
    const std::string id = input.jobs[*rc::gen::inRange<size_t>(0, input.jobs.size())].id;
    int64_t now_ms = kNow;
    // Each remedy is taken away with its reason, so a job has at most one of each, and one BEHIND for every other job.
    std::multiset<WaitKind> reasons;
    while (true) {
      const Plan plan = Schedule(input, kConfig, now_ms);
      const Wait* wait = FindWait(plan, id);
      if (wait == nullptr) break;
      if (wait->kind != WaitKind::kBehindOtherJob) RC_ASSERT(!reasons.contains(wait->kind));
      reasons.insert(wait->kind);
      ApplyRemedy(*wait, input, now_ms);
    }
  });
  EXPECT_TRUE(holds);
}

// A gang in front of an endless stream of small jobs: it starts once the jobs that ran when its patience ended are over.
TEST(ScheduleProperties, AGangIsNotStarved) {
  const bool holds = rc::check([] {
    constexpr int64_t kTick = 100, kLongestJob = 1500;
    const uint32_t slots = *rc::gen::inRange<uint32_t>(2, 9), gang = *rc::gen::inRange<uint32_t>(2, slots + 1);
    std::vector<int64_t> busy_until(slots, 0);
    for (int64_t now = 0;; now += kTick) {
      RC_ASSERT(now <= kConfig.max_bypass_ms + kLongestJob + kTick);
      SchedulerInput input{.jobs = {{.id = "gang", .ranks = {gang}}}, .workers = {{.name = "w", .slots = slots}}};
      for (uint32_t s = 0; s < slots; ++s) {
        input.jobs.push_back({.id = absl::StrCat("small", now, "-", s), .ranks = {1}, .waiting_since_ms = now});
        // At first some slot is always taken, so that small jobs come first.
        if (busy_until[s] <= now && (now > 0 || s > 0)) input.workers[0].free_slots.push_back(s);
      }
      if (gang < slots && now == 0) input.workers[0].free_slots.resize(gang - 1);
      const Plan plan = Schedule(input, kConfig, now);
      if (FindWait(plan, "gang") == nullptr) break;
      for (const Start& start : plan.starts) {
        busy_until[start.slots[0].slot] = now + *rc::gen::inRange<int64_t>(1, kLongestJob + 1);
      }
    }
  });
  EXPECT_TRUE(holds);
}

}  // namespace
}  // namespace polymoe
