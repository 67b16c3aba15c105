// Jobs as users see them: submitted once, cancelled in every state, found by id or name, and final for ever.
#include "google/protobuf/util/message_differencer.h"

#include "tests/server/state/cluster_harness.h"

namespace polymoe {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(ClusterTest, ANewJobWaitsAndSaysSo) {
  const v1::Job job = Submit(File("j"));
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.waiting().reason(), v1::WAIT_REASON_NOT_YET_SCHEDULED);
  EXPECT_EQ(job.progress().tokens_target(), 1000u);
  EXPECT_EQ(job.created_ms(), now_ms_);
  EXPECT_THAT(cluster_->Take().jobs, ElementsAre("j-1"));
  Pass();
  EXPECT_EQ(Job("j-1").waiting().reason(), v1::WAIT_REASON_NO_WORKERS);
}

TEST_F(ClusterTest, TheSameRequestMakesOneJob) {
  const auto first = cluster_->Submit(Request("r", File("j")), "j-1", now_ms_);
  const auto again = cluster_->Submit(Request("r", File("j")), "j-2", now_ms_ + 5);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_FALSE(first->existed());
  EXPECT_TRUE(again->existed());
  EXPECT_TRUE(MessageDifferencer::Equals(first->job(), again->job()));
  EXPECT_EQ(cluster_->jobs().size(), 1u);
}

TEST_F(ClusterTest, ARequestIdIsNotUsedForAnotherFile) {
  ASSERT_TRUE(cluster_->Submit(Request("r", File("j")), "j-1", now_ms_).ok());
  const auto other = cluster_->Submit(Request("r", File("j", 2)), "j-2", now_ms_);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(other.status().message()), AllOf(HasSubstr("j-1"), HasSubstr("new request id")));
  EXPECT_EQ(cluster_->jobs().size(), 1u);
}

TEST_F(ClusterTest, ARequestIsKnownAfterARestartAndAfterTheEnd) {
  Submit(File("j"));
  ASSERT_TRUE(cluster_->Cancel("j-1", now_ms_).ok());
  RestartCoordinator();
  const auto again = cluster_->Submit(Request("request of j-1", File("j")), "j-9", now_ms_);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->existed());
  EXPECT_EQ(again->job().id(), "j-1");
  EXPECT_EQ(again->job().state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(ClusterTest, TheJobGoesThroughItsStates) {
  Register("a", 2);
  Submit(File("j", 2));
  Pass();
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);
  EXPECT_FALSE(Job("j-1").has_waiting());
  Report(Started(Ref("j-1", 1, 0)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);  // one of two
  Report(Started(Ref("j-1", 1, 1)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);
  Report(Exited(Ref("j-1", 1, 0), 0));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);
  Pass(5);
  Report(Exited(Ref("j-1", 1, 1), 0));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Job("j-1").finished_ms(), now_ms_);
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_COMPLETED);
  EXPECT_THAT(cluster_->Take().attempt_ends, ElementsAre(v1::END_REASON_COMPLETED));
}

TEST_F(ClusterTest, CancellingAWaitingJobEndsItAtOnce) {
  Submit(File("j"));
  const auto job = cluster_->Cancel("j-1", now_ms_);
  ASSERT_TRUE(job.ok());
  EXPECT_EQ(job->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(job->finished_ms(), now_ms_);
  EXPECT_FALSE(job->has_waiting());
  EXPECT_THAT(job->message(), HasSubstr("cancelled"));
  Register("a", 1);
  Pass();
  EXPECT_THAT(Job("j-1").attempts(), IsEmpty());
}

TEST_F(ClusterTest, CancellingARunningJobEndsItWithItsLastRank) {
  Train(File("j", 2));
  EXPECT_EQ(cluster_->Cancel("j-1", now_ms_)->state(), v1::JOB_STATE_RUNNING);
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1"));
  ASSERT_TRUE(cluster_->Cancel("j-1", now_ms_).ok());  // again
  EXPECT_THAT(TakeOrders(), IsEmpty());
  Report(Stopped(Ref("j-1", 1, 0)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);
  EXPECT_THAT(cluster_->BusySlots("a"), ElementsAre(1u));
  Report(Stopped(Ref("j-1", 1, 1)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_CANCELLED);
  EXPECT_EQ(Job("j-1").failures() + Job("j-1").worker_losses(), 0u);
}

TEST_F(ClusterTest, CancellingAStartingJobStopsIt) {
  Register("a", 1);
  Submit(File("j"));
  Pass();
  cluster_->Take();
  ASSERT_TRUE(cluster_->Cancel("j-1", now_ms_).ok());
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1"));
  Report(Stopped(Ref("j-1", 1, 0)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(ClusterTest, CancellingInABackoffEndsTheJob) {
  Train(File("j"));
  Report(Exited(Ref("j-1", 1, 0), 1));
  ASSERT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(cluster_->Cancel("j-1", now_ms_)->state(), v1::JOB_STATE_CANCELLED);
  Pass(1'000'000);
  EXPECT_EQ(Job("j-1").attempts_size(), 1);
}

TEST_F(ClusterTest, AJobThatIsCancelledWhileItFailsIsNotTriedAgain) {
  Train(File("j", 2));
  Report(Exited(Ref("j-1", 1, 0), 1));  // the other rank is being stopped
  ASSERT_TRUE(cluster_->Cancel("j-1", now_ms_).ok());
  Report(Stopped(Ref("j-1", 1, 1)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(ClusterTest, ACancelIsNotForgottenInARestart) {
  Train(File("j"));
  ASSERT_TRUE(cluster_->Cancel("j-1", now_ms_).ok());
  RestartCoordinator();  // before the order was sent
  Register("a", 1, "i1", {Ref("j-1", 1, 0)});
  EXPECT_THAT(TakeOrders(), ElementsAre("a: registered", "a: stop j-1/1"));
  Report(Stopped(Ref("j-1", 1, 0)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(ClusterTest, NobodyCancelsWhatIsNotThere) {
  const auto missing = cluster_->Cancel("k", now_ms_);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("'k'"));
}

// Final by all three ways, then everything that could still come.
TEST_F(ClusterTest, AFinalJobChangesNoMore) {
  for (const auto& [name, final_state] : {std::pair("won", v1::JOB_STATE_SUCCEEDED), std::pair("lost", v1::JOB_STATE_FAILED),
                                          std::pair("ended", v1::JOB_STATE_CANCELLED)}) {
    SCOPED_TRACE(name);
    const std::string id = absl::StrCat(name, "-1");
    Train(File(name));
    if (final_state == v1::JOB_STATE_CANCELLED) {
      ASSERT_TRUE(cluster_->Cancel(id, now_ms_).ok());
    }
    const int code = final_state == v1::JOB_STATE_SUCCEEDED ? 0 : 2;
    Report(Exited(Ref(id, 1, 0), code));
    const v1::Job end = Job(id);
    ASSERT_EQ(end.state(), final_state);

    Report(Started(Ref(id, 1, 0)));
    Report(Points(Ref(id, 1, 0), 99, 1));
    Report(Saved(Ref(id, 1, 0), 99));
    Report(Exited(Ref(id, 1, 0), 1));
    EXPECT_EQ(cluster_->Cancel(id, now_ms_)->state(), final_state);
    Register("a", 1, "i2", {Ref(id, 1, 0)});
    Pass(1'000'000);
    Silence(1'000'000);
    EXPECT_TRUE(MessageDifferencer::Equals(Job(id), end)) << Job(id).DebugString();
  }
}

TEST_F(ClusterTest, ARevisionGrowsWithEveryCommittedChange) {
  Submit(File("j"));
  cluster_->Take();
  const uint64_t first = Job("j-1").revision();
  Pass();
  EXPECT_GT(Job("j-1").revision(), first);
  const uint64_t second = Job("j-1").revision();
  cluster_->Take();
  Pass(100);  // nothing new
  EXPECT_EQ(Job("j-1").revision(), second);
  EXPECT_THAT(cluster_->Take().jobs, IsEmpty());
}

}  // namespace
}  // namespace polymoe
