// Workers that come, go, fall silent, are drained or restarted, and a coordinator that is: what becomes of the ranks.
#include "tests/server/state/cluster_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(ClusterTest, ARegistrationIsAnsweredWithTheTerms) {
  Register("a", 2);
  const Effects effects = cluster_->Take();
  ASSERT_THAT(effects.messages, SizeIs(1));
  EXPECT_EQ(effects.messages[0].second.registered().lease_ms(), config_.lease_ms);
  EXPECT_EQ(effects.messages[0].second.registered().heartbeat_ms(), config_.heartbeat_ms);
}

TEST_F(ClusterTest, HeartbeatsAndReportsAreAcknowledged) {
  Register("a", 1);
  cluster_->Take();
  cluster_->Heartbeat("a", 41, now_ms_);
  v1::Report report = Exited(Ref("nobody", 1, 0), 0);
  report.set_sequence(42);
  Report(report);
  const Effects effects = cluster_->Take();
  ASSERT_THAT(effects.messages, SizeIs(2));
  EXPECT_EQ(effects.messages[0].second.heartbeat_ack().sequence(), 41u);
  EXPECT_EQ(effects.messages[1].second.report_ack().sequence(), 42u);
}

TEST_F(ClusterTest, ASlotThatIsNamedTwiceIsOneSlot) {
  v1::Register twice = Registration("a", 2, "i1");
  twice.mutable_slots(1)->set_index(0);
  cluster_->Register(twice, now_ms_);
  Submit(File("j", 2));
  Pass();
  EXPECT_EQ(Job("j-1").waiting().reason(), v1::WAIT_REASON_CLUSTER_TOO_SMALL);
}

TEST_F(ClusterTest, ASilentWorkerIsLostWithItsLease) {
  Register("b", 1);
  Train(File("j", 2));  // on a, which holds it alone
  Submit(File("k"));
  Pass();
  StartRanks("k-1");  // on b
  cluster_->Disconnect("a");
  Pass(config_.lease_ms - 1);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);
  Pass(1);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_WORKER_LOST);
  EXPECT_THAT(Job("j-1").message(), HasSubstr("worker a was silent"));
  EXPECT_EQ(Job("j-1").worker_losses(), 1u);
  EXPECT_FALSE(cluster_->workers().contains("a"));
  EXPECT_EQ(Job("k-1").state(), v1::JOB_STATE_RUNNING);
}

TEST_F(ClusterTest, AGangThatLostOneWorkerIsStoppedOnTheOthers) {
  Register("a", 1);
  Register("b", 1);
  Submit(File("j", 2));
  Pass();
  StartRanks("j-1");
  cluster_->Take();
  cluster_->Disconnect("b");
  Pass(config_.lease_ms);
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1 soon", "b: stop j-1/1 soon"));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);
  Report(Stopped(Ref("j-1", 1, 0)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_WORKER_LOST);
}

TEST_F(ClusterTest, ABrokenStreamCostsNothing) {
  Train(File("j"));
  cluster_->Disconnect("a");
  Silence(config_.lease_ms / 2);
  Register("a", 1, "i1", {Ref("j-1", 1, 0)});
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered"));
  Pass(config_.lease_ms - 1);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(Job("j-1").attempts_size(), 1);
}

TEST_F(ClusterTest, ADisconnectedWorkerGetsNoRanks) {
  Register("a", 1);
  cluster_->Disconnect("a");
  Submit(File("j"));
  Pass();
  EXPECT_EQ(Job("j-1").waiting().reason(), v1::WAIT_REASON_NO_WORKERS);
}

TEST_F(ClusterTest, ARestartedDaemonHasLostItsRanks) {
  Train(File("j"));
  Register("a", 1, "i2");
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_WORKER_LOST);
  EXPECT_THAT(Job("j-1").message(), HasSubstr("worker a was restarted"));
  EXPECT_THAT(cluster_->BusySlots("a"), IsEmpty());
  Pass(1000);
  EXPECT_EQ(Newest("j-1").placements(0).instance(), "i2");
}

TEST_F(ClusterTest, ALaunchThatWasLostIsSentAgain) {
  Register("a", 2);
  Submit(File("j", 2));
  Pass();
  cluster_->Take();  // never arrives
  cluster_->Disconnect("a");
  Register("a", 2, "i1", {Ref("j-1", 1, 1)});
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered", "a: launch j-1/1 ranks 0 1"));
}

TEST_F(ClusterTest, ARankThatHasEndedIsNotLaunchedAgain) {
  Train(File("j", 2));
  Report(Exited(Ref("j-1", 1, 0), 0));
  cluster_->Take();
  Register("a", 2, "i1", {Ref("j-1", 1, 1)});
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered"));
}

// Else the attempt would wait for ever for the end of a rank that nobody runs.
TEST_F(ClusterTest, ALaunchThatWasLostBeforeTheStopIsOver) {
  Register("a", 1);
  Register("b", 1);
  Submit(File("j", 2));
  Pass();
  cluster_->Take();
  cluster_->Disconnect("b");  // with its launch
  Report(Exited(Ref("j-1", 1, 0), 1));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);
  cluster_->Take();
  Register("b", 1);
  EXPECT_THAT(TakeOrders(), ElementsAre("b: registered"));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_TRAINER_FAILED);
}

// Two streams of a worker between two commits: the launch that was to go to the first would start a rank that nobody knows of.
TEST_F(ClusterTest, WhatWasMeantForAnOlderStreamIsNotSentToTheNewer) {
  Register("a", 1);
  Submit(File("j"));
  Pass();
  cluster_->Take();  // the launch is lost
  Register("a", 1);  // it is to be sent again,
  ASSERT_TRUE(cluster_->Cancel("j-1", now_ms_).ok());
  Register("a", 1);  // but the job is over now
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered"));
}

TEST_F(ClusterTest, RanksOfAttemptsThatAreOverAreStopped) {
  Train(File("j"));
  cluster_->Disconnect("a");
  Pass(config_.lease_ms);  // given up
  cluster_->Take();
  Register("a", 1, "i1", {Ref("j-1", 1, 0), Ref("unknown-1", 1, 0)});
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered", "a: stop j-1/1 soon", "a: stop unknown-1/1 soon"));
}

TEST_F(ClusterTest, ADrainedWorkerGetsNoNewRanksAndLosesItsOwn) {
  Train(File("j"));
  ASSERT_TRUE(cluster_->Drain("a").ok());
  EXPECT_THAT(TakeOrders(), ElementsAre("a: drain"));
  Report(Stopped(Ref("j-1", 1, 0)));
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_WORKER_DRAINED);
  EXPECT_EQ(Job("j-1").worker_losses(), 1u);
  EXPECT_EQ(Job("j-1").failures(), 0u);
  Pass(1'000);
  EXPECT_EQ(Job("j-1").waiting().reason(), v1::WAIT_REASON_NO_WORKERS);
  EXPECT_EQ(Job("j-1").waiting().until_ms(), 0);  // the backoff is over
  Register("b", 1);
  Pass();
  EXPECT_EQ(Newest("j-1").placements(0).worker(), "b");
}

TEST_F(ClusterTest, ADaemonThatDrainsItselfGetsNoNewRanks) {
  Register("a", 1);
  cluster_->SetDraining("a");
  Submit(File("j"));
  Pass();
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
}

TEST_F(ClusterTest, ADrainOutlivesABrokenStream) {
  Register("a", 1);
  cluster_->Disconnect("a");
  ASSERT_TRUE(cluster_->Drain("a").ok());  // the order does not arrive
  cluster_->Take();
  Register("a", 1);
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered", "a: drain"));
  Submit(File("j"));
  Pass();
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
  Register("a", 1, "i2");  // started again: it is meant to work
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered"));
  Pass();
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);
}

TEST_F(ClusterTest, NobodyDrainsWhatIsNotThere) {
  EXPECT_EQ(cluster_->Drain("a").code(), absl::StatusCode::kNotFound);
}

TEST_F(ClusterTest, TrainersDoNotNoticeARestartOfTheCoordinator) {
  Train(File("j", 2));
  Report(Points(Ref("j-1", 1, 0), 5, 1));
  Report(Saved(Ref("j-1", 1, 0), 5));
  RestartCoordinator();
  EXPECT_THAT(cluster_->BusySlots("a"), ElementsAre(0u, 1u));
  Silence(config_.lease_ms - 1);
  Register("a", 2, "i1", {Ref("j-1", 1, 0), Ref("j-1", 1, 1)});
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered"));
  Report(Exited(Ref("j-1", 1, 0), 0));
  Report(Exited(Ref("j-1", 1, 1), 0));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Job("j-1").attempts_size(), 1);
  EXPECT_EQ(Job("j-1").checkpoint().step(), 5u);
}

TEST_F(ClusterTest, AWorkerThatDoesNotFindTheNewCoordinatorIsLost) {
  Train(File("j"));
  RestartCoordinator();
  Silence(config_.lease_ms - 1);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);
  Silence(1);
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_WORKER_LOST);
}

TEST_F(ClusterTest, ADaemonThatWasRestartedTogetherWithTheCoordinatorHasLostItsRanks) {
  Train(File("j"));
  RestartCoordinator();
  Register("a", 1, "i2");
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_WORKER_LOST);
}

TEST_F(ClusterTest, BackoffAndOrderOutliveARestart) {
  Train(File("j"));
  Report(Exited(Ref("j-1", 1, 0), 1));
  now_ms_ += 1;
  Submit(File("k", 1));
  RestartCoordinator();
  Register("a", 1);
  Pass(998);
  EXPECT_EQ(Job("j-1").waiting().reason(), v1::WAIT_REASON_BACKOFF);
  EXPECT_EQ(Job("k-1").state(), v1::JOB_STATE_STARTING);  // it need not wait for a job that may not start
  ASSERT_TRUE(cluster_->Cancel("k-1", now_ms_).ok());
  Report(Stopped(Ref("k-1", 1, 0)));
  Pass(1);
  EXPECT_EQ(Job("j-1").attempts_size(), 2);
}

TEST_F(ClusterTest, OnlyTheCountdownOfABackoffIsNoNews) {
  Train(File("j"));
  Report(Exited(Ref("j-1", 1, 0), 1));
  cluster_->Take();
  Pass(100);
  Pass(100);
  EXPECT_THAT(cluster_->Take().jobs, IsEmpty());
}

}  // namespace
}  // namespace polymoe
