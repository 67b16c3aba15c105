// Ablations from submit to their end: runs start in order within their slots, pause and go on, arms are added, and a restart at any point
// changes nothing.
#include <functional>
#include <map>
#include <memory>

#include "google/protobuf/util/message_differencer.h"

#include "tests/server/state/ablation_harness.h"

namespace polymoe {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kOneSlot[] = "  budget: {tokens: 1k, parallelSlots: 1}\n";
constexpr char kTwoSlots[] = "  budget: {tokens: 1k, parallelSlots: 2}\n";

TEST_F(AblationTest, TheObjectAndItsJobsAreOneChange) {
  SubmitStudy();
  const Effects effects = cluster_->Take();
  EXPECT_THAT(effects.ablations, ElementsAre("study-1"));
  EXPECT_THAT(effects.jobs, ElementsAre("study-a-s1-1", "study-a-s2-1", "study-b-s1-1", "study-b-s2-1"));
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_ACTIVE);
  EXPECT_EQ(Study().created_ms(), now_ms_);
  ASSERT_THAT(Study().runs(), SizeIs(4));
  EXPECT_EQ(Study().runs(1).arm(), "b") << "seed by seed";
  EXPECT_EQ(Study().runs(1).seed(), 1u);
  const v1::Job& job = Job("study-b-s1-1");
  EXPECT_TRUE(job.held());
  EXPECT_EQ(job.ablation().id(), "study-1");
  EXPECT_EQ(job.ablation().name(), "study");
  EXPECT_EQ(job.ablation().arm(), "b");
  EXPECT_EQ(job.ablation().seed(), 1u);
  EXPECT_EQ(job.file().spec().model().activation().kind(), v1::ACTIVATION_KIND_GELU);
}

TEST_F(AblationTest, TheSameRequestMakesOneAblation) {
  SubmitStudy();
  const auto again = cluster_->SubmitAblation(AblationRequest("r", AblationOf()), NewId, now_ms_ + 5);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->existed());
  EXPECT_TRUE(MessageDifferencer::Equals(again->ablation(), Study()));
  EXPECT_THAT(cluster_->jobs(), SizeIs(4));
  const auto other = cluster_->SubmitAblation(AblationRequest("r", AblationOf(kOneSlot)), NewId, now_ms_);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(AddArm("c", "swiglu").ok());
  RestartCoordinator();
  EXPECT_TRUE(cluster_->SubmitAblation(AblationRequest("r", AblationOf()), NewId, now_ms_)->existed()) << "with an arm more since";
}

TEST_F(AblationTest, ToTheEnd) {
  Register("a", 3);
  SubmitStudy();
  Pass();
  EXPECT_THAT(OnSlots(), ElementsAre("a-s1", "b-s1", "a-s2")) << "the order of the runs, not of the names";
  EXPECT_EQ(Job("study-b-s2-1").waiting().reason(), v1::WAIT_REASON_SLOTS_BUSY);
  Complete("a-s1");
  Pass();
  Complete("b-s1");
  Complete("a-s2");
  Pass();
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_ACTIVE);
  EXPECT_EQ(Study().finished_ms(), 0);
  Complete("b-s2");
  Pass(7);
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_SUCCEEDED);
  EXPECT_EQ(Study().finished_ms(), now_ms_);
  cluster_->Take();
  Pass();
  EXPECT_THAT(cluster_->Take().ablations, IsEmpty()) << "it is final";
}

TEST_F(AblationTest, OneFailedRunFailsItWhenAllAreOver) {
  Register("a", 4);
  SubmitStudy();
  Pass();
  End("a-s1", 2);  // bad input: not tried again
  Complete("b-s1");
  Complete("a-s2");
  Pass();
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_ACTIVE);
  ASSERT_TRUE(cluster_->Cancel(IdOf("b-s2"), now_ms_).ok());
  Stop("b-s2");
  Pass();
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_FAILED);
}

TEST_F(AblationTest, ARunThatWasCancelledAloneHasEnded) {
  Register("a", 4);
  SubmitStudy();
  Pass();
  for (const char* run : {"a-s1", "b-s1", "a-s2"}) Complete(run);
  ASSERT_TRUE(cluster_->Cancel(IdOf("b-s2"), now_ms_).ok());
  Stop("b-s2");
  Pass();
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_SUCCEEDED);
  EXPECT_EQ(Job(IdOf("b-s2")).message(), "cancelled by request");
}

TEST_F(AblationTest, ParallelSlotsAreKeptAndRunsStartInOrder) {
  Register("a", 4);
  SubmitStudy(kTwoSlots);
  Pass();
  EXPECT_THAT(OnSlots(), ElementsAre("a-s1", "b-s1"));
  EXPECT_THAT(Held(), ElementsAre("a-s2", "b-s2"));
  EXPECT_EQ(Job(IdOf("a-s2")).waiting().reason(), v1::WAIT_REASON_HELD);
  EXPECT_THAT(Job(IdOf("a-s2")).waiting().detail(), HasSubstr("2 slots"));
  End("b-s1", 1);  // waits for its second try, and keeps its place
  Pass();
  EXPECT_THAT(OnSlots(), ElementsAre("a-s1"));
  Pass(2000);
  EXPECT_THAT(OnSlots(), ElementsAre("a-s1", "b-s1"));
  Complete("a-s1");
  Pass();
  EXPECT_THAT(OnSlots(), ElementsAre("b-s1", "a-s2"));
  Complete("b-s1");
  Complete("a-s2");
  Pass();
  EXPECT_THAT(OnSlots(), ElementsAre("b-s2"));
  Complete("b-s2");
  Pass();
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_SUCCEEDED);
}

TEST_F(AblationTest, HeldRunsKeepNobodyFromTheSlots) {
  Register("a", 2);
  SubmitStudy(kOneSlot);
  now_ms_ += 1;
  Submit(File("j"));
  Pass(config_.scheduler.max_bypass_ms);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);
}

TEST_F(AblationTest, PauseSavesAndGivesTheSlotsBackAndResumeGoesOn) {
  Register("a", 2);
  SubmitStudy();
  Pass();
  StartRanks(IdOf("a-s1"));
  cluster_->Take();
  ASSERT_TRUE(cluster_->PauseAblation("study-1").ok());
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop study-a-s1-1/1", "a: stop study-b-s1-1/1")) << "with time to save";
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_PAUSED);
  Report(Saved(Ref(IdOf("a-s1"), 1, 0), 3));
  Stop("a-s1");
  Stop("b-s1");
  Pass();
  EXPECT_THAT(OnSlots(), IsEmpty());
  EXPECT_THAT(Held(), SizeIs(4));
  const v1::Job& job = Job(IdOf("a-s1"));
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.waiting().reason(), v1::WAIT_REASON_HELD);
  EXPECT_THAT(job.waiting().detail(), HasSubstr("polyctl ablation resume study-1"));
  EXPECT_EQ(job.attempts(0).end_reason(), v1::END_REASON_PAUSED);
  EXPECT_EQ(job.failures() + job.worker_losses(), 0u) << "charged to no budget";
  cluster_->Take();
  ASSERT_TRUE(cluster_->PauseAblation("study-1").ok());
  EXPECT_THAT(cluster_->Take().ablations, IsEmpty()) << "idempotent";
  ASSERT_TRUE(cluster_->ResumeAblation("study-1").ok());
  ASSERT_TRUE(cluster_->ResumeAblation("study-1").ok());
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_ACTIVE);
  Pass();
  EXPECT_THAT(OnSlots(), ElementsAre("a-s1", "b-s1")) << "at once, without a backoff";
  EXPECT_EQ(Job(IdOf("a-s1")).attempts_size(), 2);
}

TEST_F(AblationTest, ResumedBeforeItsRanksHadEndedItTakesNoSlotTwice) {
  Register("a", 4);
  SubmitStudy(kTwoSlots);
  Pass();
  ASSERT_TRUE(cluster_->PauseAblation("study-1").ok());
  ASSERT_TRUE(cluster_->ResumeAblation("study-1").ok());
  Pass();
  EXPECT_THAT(Held(), ElementsAre("a-s2", "b-s2"));
  Stop("a-s1");
  Pass();
  EXPECT_THAT(OnSlots(), ElementsAre("a-s1", "b-s1"));
  EXPECT_EQ(Job(IdOf("a-s1")).attempts_size(), 2);
  EXPECT_EQ(Job(IdOf("b-s1")).attempts_size(), 1);
}

TEST_F(AblationTest, CancelEndsEveryRun) {
  Register("a", 1);
  SubmitStudy();
  Pass();
  ASSERT_TRUE(cluster_->CancelAblation("study-1", now_ms_).ok());
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_ACTIVE) << "until its ranks have ended";
  EXPECT_TRUE(Study().cancel_requested());
  EXPECT_THAT(Runs({v1::JOB_STATE_CANCELLED}), ElementsAre("b-s1", "a-s2", "b-s2"));
  EXPECT_EQ(cluster_->PauseAblation("study-1").status().code(), absl::StatusCode::kFailedPrecondition);
  Stop("a-s1");
  Pass();
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_CANCELLED);
  cluster_->Take();
  ASSERT_TRUE(cluster_->CancelAblation("study-1", now_ms_).ok());
  EXPECT_THAT(cluster_->Take().ablations, IsEmpty());
  EXPECT_EQ(cluster_->ResumeAblation("study-1").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(AddArm("c", "swiglu").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(AblationTest, OneThatWaitsIsCancelledAtOnce) {
  SubmitStudy();
  const auto cancelled = cluster_->CancelAblation("study-1", now_ms_);
  ASSERT_TRUE(cancelled.ok());
  EXPECT_EQ(cancelled->state(), v1::ABLATION_STATE_CANCELLED);
}

TEST_F(AblationTest, AnArmThatComesLaterRunsBehindTheOthers) {
  Register("a", 4);
  SubmitStudy();
  Pass();
  for (const char* run : {"a-s1", "b-s1", "a-s2", "b-s2"}) Complete(run);
  Pass();
  ASSERT_EQ(Study().state(), v1::ABLATION_STATE_SUCCEEDED);
  const auto added = AddArm("c", "swiglu");
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(added->state(), v1::ABLATION_STATE_ACTIVE);
  EXPECT_EQ(added->finished_ms(), 0);
  EXPECT_THAT(added->file().spec().arms(), SizeIs(3));
  Pass();
  EXPECT_THAT(OnSlots(), ElementsAre("c-s1", "c-s2"));
  cluster_->Take();
  ASSERT_TRUE(AddArm("c", "swiglu").ok());
  EXPECT_THAT(cluster_->Take().ablations, IsEmpty()) << "the same arm again";
  EXPECT_EQ(AddArm("c", "relu").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(AddArm("d", "nonsense").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Study().runs(), SizeIs(6));
}

TEST_F(AblationTest, AStopRuleEndsARunWhichCountsAsSuccess) {
  Register("a", 4);
  SubmitStudy();
  Pass();
  cluster_->StopRun(IdOf("b-s1"), "worse by 1", now_ms_);
  cluster_->StopRun(IdOf("b-s1"), "worse by 2", now_ms_);
  EXPECT_EQ(Study().runs(1).stopped(), "worse by 1");
  Stop("b-s1");
  EXPECT_EQ(Job(IdOf("b-s1")).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(Job(IdOf("b-s1")).message(), "stopped by a rule of its ablation: worse by 1");
  for (const char* run : {"a-s1", "a-s2", "b-s2"}) Complete(run);
  Pass();
  EXPECT_EQ(Study().state(), v1::ABLATION_STATE_SUCCEEDED);
  cluster_->StopRun(IdOf("a-s1"), "too late", now_ms_);
  EXPECT_EQ(Study().runs(0).stopped(), "");
}

// The same events with a restart before each of them come to the same end.
TEST_F(AblationTest, ARestartAtAnyPointChangesNothing) {
  const auto play = [&](bool restarts) {
    std::vector<std::function<void()>> events = {
        [&] { SubmitStudy(kTwoSlots); },
        [&] { Complete("a-s1"); },
        [&] { EXPECT_TRUE(cluster_->PauseAblation("study-1").ok()); },
        [&] { Stop("b-s1"); },
        [&] { EXPECT_TRUE(AddArm("c", "swiglu").ok()); },
        [&] { Stop("a-s2"); },
        [&] { EXPECT_TRUE(cluster_->ResumeAblation("study-1").ok()); },
        [&] { Complete("b-s1"); },
        [&] { cluster_->StopRun(IdOf("b-s2"), "hopeless", now_ms_); },
        [&] { Stop("b-s2"); },
        [&] { Complete("a-s2"); },
        [&] { Complete("c-s1"); },
        [&] { Complete("c-s2"); },
    };
    cluster_ = std::make_unique<Cluster>(config_);
    now_ms_ = 1'000'000;
    Register("a", 4);
    for (const auto& event : events) {
      event();
      Pass(1);
      if (!restarts) continue;
      RestartCoordinator();
      std::vector<v1::RankRef> running;
      for (const auto& [id, job] : cluster_->jobs()) {
        if (job.state() == v1::JOB_STATE_STARTING) running.push_back(Ref(id, job.attempts_size(), 0));
      }
      Register("a", 4, "i1", running);
    }
    std::map<std::string, v1::Job> jobs = cluster_->jobs();
    v1::Ablation study = Study();
    study.clear_revision();  // a restart may fall between two changes of one commit
    for (auto& [id, job] : jobs) job.clear_revision();
    return std::make_pair(study, jobs);
  };
  const auto [study, jobs] = play(false);
  const auto [study_again, jobs_again] = play(true);
  EXPECT_EQ(study.state(), v1::ABLATION_STATE_SUCCEEDED);
  EXPECT_TRUE(MessageDifferencer::Equals(study, study_again)) << study.DebugString() << study_again.DebugString();
  ASSERT_EQ(jobs.size(), jobs_again.size());
  for (const auto& [id, job] : jobs) {
    EXPECT_TRUE(MessageDifferencer::Equals(job, jobs_again.at(id))) << job.DebugString() << jobs_again.at(id).DebugString();
  }
}

TEST_F(AblationTest, AStoreThatLostAJobIsNotTaken) {
  SubmitStudy();
  Cluster other(config_);
  const absl::Status status = other.RestoreAblation(Study(), "r");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("study-a-s1-1"));
}

}  // namespace
}  // namespace polymoe
