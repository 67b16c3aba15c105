// Thousands of random events (streams that break, daemons and coordinators that die, reports that come twice or late, ranks that fail,
// cancels, drains, ablations that pause and grow, jumps of time) break none of the cluster's promises; and once nothing fails any more, every job reaches its end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/spec/names.h"
#include "tests/server/state/world.h"

namespace polymoe {
namespace {

constexpr uint64_t kSeeds = 100;
constexpr int kEvents = 1'500;

TEST(Simulation, PromisesHoldAndEveryJobEnds) {
  std::set<std::string> happened;
  std::map<v1::JobState, int> ends;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    World world(seed);
    for (int event = 0; event < kEvents; ++event) {
      world.Step();
      ASSERT_EQ(world.violation(), "") << "seed " << seed << ", event " << event;
    }
    const bool settled = world.Settle();
    ASSERT_EQ(world.violation(), "") << "seed " << seed << ", after the faults";
    for (const auto& [id, job] : world.jobs()) {
      ASSERT_TRUE(settled || IsFinal(job.state())) << "seed " << seed << "\n" << job.DebugString();
      ++ends[job.state()];
    }
    happened.insert(world.happened().begin(), world.happened().end());
  }
  // The seeds reach everything that the promises speak of.
  EXPECT_THAT(happened, ::testing::IsSupersetOf({"coordinator restarted",
                                                 "daemon restarted",
                                                 "END_REASON_COMPLETED",
                                                 "END_REASON_TRAINER_FAILED",
                                                 "END_REASON_WORKER_LOST",
                                                 "END_REASON_WORKER_DRAINED",
                                                 "END_REASON_CANCELLED",
                                                 "END_REASON_START_TIMEOUT",
                                                 "END_REASON_STALLED",
                                                 "END_REASON_RESIZED",
                                                 "late checkpoint",
                                                 "WAIT_REASON_NO_WORKERS",
                                                 "WAIT_REASON_CLUSTER_TOO_SMALL",
                                                 "WAIT_REASON_SLOTS_BUSY",
                                                 "WAIT_REASON_BEHIND_OTHER_JOB",
                                                 "WAIT_REASON_BACKOFF",
                                                 "WAIT_REASON_HELD",
                                                 "END_REASON_PAUSED",
                                                 "ABLATION_STATE_SUCCEEDED",
                                                 "ABLATION_STATE_FAILED",
                                                 "ABLATION_STATE_CANCELLED"}));
  for (const v1::JobState end : {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED}) {
    EXPECT_GT(ends[end], 20) << v1::JobState_Name(end);
  }
}

}  // namespace
}  // namespace polymoe
