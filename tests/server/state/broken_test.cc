// Attempts that can never train again: who is blamed, how soon the others end, and whom nobody waits for.
#include "common/trainer_exit.h"
#include "tests/server/state/cluster_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Job j-1 trains with rank 0 on "a" and rank 1 on "b"; "c" has a free slot.
class BrokenAttemptTest : public ClusterTest {
 protected:
  void SetUp() override {
    Register("a", 1);
    Register("b", 1);
    Submit(File("j", 2));
    Pass();
    StartRanks("j-1");
    Register("c", 1);
    cluster_->Take();
  }
  void LosePeer(uint32_t rank) {
    const std::string worker = rank == 0 ? "a" : "b";
    Report(Exited(Ref("j-1", 1, rank), kTrainerPeerLost, worker, absl::StrCat("rank ", 1 - rank, " is gone")), worker);
  }
  v1::Report Killed(uint32_t rank, const std::string& worker) {
    v1::Report report = Exited(Ref("j-1", 1, rank), -1, worker);
    report.mutable_exited()->mutable_exit()->set_signal(9);
    return report;
  }
  v1::EndReason FirstEnd() { return Job("j-1").attempts(0).end_reason(); }
};

TEST_F(BrokenAttemptTest, TheRankThatDiedIsTheReasonThoughItsPeerSpeaksFirst) {
  LosePeer(0);
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1 soon", "b: stop j-1/1 soon"));
  EXPECT_EQ(FirstEnd(), v1::END_REASON_UNSPECIFIED);
  Report(Killed(1, "b"), "b");
  EXPECT_EQ(FirstEnd(), v1::END_REASON_TRAINER_FAILED);
  EXPECT_EQ(Job("j-1").attempts(0).exit().rank(), 1u);
  EXPECT_EQ(Job("j-1").message(), "rank 1 on b was killed by signal 9");
  EXPECT_EQ(Job("j-1").failures(), 1u);
}

TEST_F(BrokenAttemptTest, AnErrorOfItsOwnCountsThoughTheStopCameBeforeIt) {
  LosePeer(0);
  v1::Report report = Exited(Ref("j-1", 1, 1), kTrainerBadInput, "b", "no such dataset");
  report.mutable_exited()->set_stopped(true);
  Report(report, "b");
  EXPECT_EQ(FirstEnd(), v1::END_REASON_TRAINER_FAILED);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_FAILED);
}

TEST_F(BrokenAttemptTest, ALostPeerBehindTheCauseChangesNothing) {
  Report(Killed(1, "b"), "b");
  LosePeer(0);
  EXPECT_EQ(FirstEnd(), v1::END_REASON_TRAINER_FAILED);
  EXPECT_EQ(Job("j-1").attempts(0).exit().rank(), 1u);
}

TEST_F(BrokenAttemptTest, WhenNobodyDiedTheNetworkDid) {
  LosePeer(0);
  LosePeer(1);
  EXPECT_EQ(FirstEnd(), v1::END_REASON_WORKER_LOST);
  EXPECT_EQ(Job("j-1").message(), "rank 0 on a exited with code 4: rank 1 is gone");
  EXPECT_FALSE(Job("j-1").attempts(0).has_exit());
  EXPECT_EQ(Job("j-1").worker_losses(), 1u);
}

TEST_F(BrokenAttemptTest, ALatePeerIsAStallOfTheJob) {
  Report(Exited(Ref("j-1", 1, 0), kTrainerPeerLate, "a", "rank 1 sent nothing for 120 s"));
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1 soon", "b: stop j-1/1 soon"));
  v1::Report killed = Killed(1, "b");
  killed.mutable_exited()->set_stopped(true);
  Report(killed, "b");
  EXPECT_EQ(FirstEnd(), v1::END_REASON_STALLED);
  EXPECT_THAT(Job("j-1").message(), HasSubstr("rank 1 sent nothing for 120 s"));
  EXPECT_FALSE(Job("j-1").attempts(0).has_exit()) << "the rank that waited is not the one to blame";
  EXPECT_EQ(Job("j-1").failures(), 1u);
}

TEST_F(BrokenAttemptTest, ARankThatItsDaemonKilledBecauseItHungIsAStall) {
  v1::Report report = Killed(1, "b");
  report.mutable_exited()->set_stalled(true);
  report.mutable_exited()->set_error("rank 1 on host b made no progress for 180 s");
  Report(report, "b");
  LosePeer(0);
  EXPECT_EQ(FirstEnd(), v1::END_REASON_STALLED);
  EXPECT_EQ(Job("j-1").attempts(0).exit().rank(), 1u);
  EXPECT_EQ(Job("j-1").failures(), 1u);
}

TEST_F(BrokenAttemptTest, AWorkerThatIsGoneIsNotWaitedFor) {
  LosePeer(0);
  Pass();
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING) << "rank 1 can still say what befell it";
  cluster_->Disconnect("b");
  cluster_->Take();
  Pass();
  EXPECT_EQ(FirstEnd(), v1::END_REASON_WORKER_LOST);
  EXPECT_EQ(Job("j-1").worker_losses(), 1u);
  EXPECT_THAT(TakeOrders(), ElementsAre("a: launch j-1/2 ranks 0", "c: launch j-1/2 ranks 1")) << "at once, without a backoff";
}

TEST_F(BrokenAttemptTest, TheOrderOfTheNewsDoesNotMatter) {
  cluster_->Disconnect("b");
  Pass();
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING) << "it may be the way to the coordinator alone";
  LosePeer(0);
  Pass();
  EXPECT_EQ(FirstEnd(), v1::END_REASON_WORKER_LOST);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);
}

TEST_F(BrokenAttemptTest, AWorkerThatTheNewCoordinatorHasNotSeenYetIsWaitedFor) {
  LosePeer(0);
  RestartCoordinator();
  Silence(config_.lease_ms - 1);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);
  Register("b", 1, "i1", {Ref("j-1", 1, 1)});
  EXPECT_THAT(TakeOrders(), ElementsAre("b: registered", "b: stop j-1/1 soon"));
  Report(Killed(1, "b"), "b");
  EXPECT_EQ(FirstEnd(), v1::END_REASON_TRAINER_FAILED);
}

TEST_F(BrokenAttemptTest, AZombieKeepsItsSlotUntilItHasEnded) {
  cluster_->Disconnect("b");
  LosePeer(0);
  Pass();
  ASSERT_EQ(Newest("j-1").number(), 2u);
  Submit(File("k"));
  Register("b", 1, "i1", {Ref("j-1", 1, 1)});
  EXPECT_THAT(TakeOrders(), testing::IsSupersetOf({"b: registered", "b: stop j-1/1 soon"}));
  EXPECT_THAT(cluster_->BusySlots("b"), ElementsAre(0u));
  Pass();
  EXPECT_EQ(Job("k-1").state(), v1::JOB_STATE_PENDING);
  Report(Saved(Ref("j-1", 1, 1), 99), "b");  // the last thing it did
  EXPECT_FALSE(Job("j-1").has_checkpoint());
  Report(Killed(1, "b"), "b");
  EXPECT_THAT(cluster_->BusySlots("b"), IsEmpty());
  Pass();
  EXPECT_EQ(Newest("k-1").placements(0).worker(), "b");
}

TEST_F(BrokenAttemptTest, ACancelDuringAGentleStopCanStillTurnBroken) {
  ASSERT_TRUE(cluster_->Cancel("j-1", now_ms_).ok());
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1", "b: stop j-1/1"));
  Report(Killed(1, "b"), "b");
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1 soon", "b: stop j-1/1 soon"));
  LosePeer(0);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(FirstEnd(), v1::END_REASON_CANCELLED);
}

TEST_F(BrokenAttemptTest, ADrainStopsAllRanksWithACheckpoint) {
  cluster_->SetDraining("a");
  Report(Exited(Ref("j-1", 1, 1), kTrainerStopped, "b"), "b");  // its peer told it
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1", "b: stop j-1/1"));
  EXPECT_EQ(Job("j-1").message(), "rank 1 on b stopped with its peers");
  Report(Stopped(Ref("j-1", 1, 0)));
  EXPECT_EQ(FirstEnd(), v1::END_REASON_WORKER_DRAINED);
  EXPECT_EQ(Job("j-1").worker_losses(), 1u);
}

TEST_F(BrokenAttemptTest, AnAttemptThatNeverTrainedIsRetriedWithABackoff) {
  LosePeer(0);
  cluster_->Disconnect("b");
  Pass();
  ASSERT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);  // attempt 2 on a and c
  Report(Exited(Ref("j-1", 2, 0), kTrainerPeerLost));
  cluster_->Disconnect("c");
  Pass();
  EXPECT_EQ(Job("j-1").waiting().reason(), v1::WAIT_REASON_BACKOFF);
  EXPECT_EQ(Job("j-1").waiting().until_ms(), now_ms_ + 2000);
}

}  // namespace
}  // namespace polymoe
