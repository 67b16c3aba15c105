// The life of attempts: a gang is launched and stopped as one, failures are retried within their budgets from the newest checkpoint,
// and whatever an older attempt still says changes nothing.
#include "google/protobuf/util/message_differencer.h"

#include "tests/server/state/cluster_harness.h"

namespace polymoe {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(ClusterTest, ALaunchSaysWhatEachWorkerRuns) {
  Register("a", 2);
  Register("b", 1);
  Submit(File("j", 3));
  cluster_->Take();
  cluster_->Tick(now_ms_);
  const Effects effects = cluster_->Take();
  ASSERT_THAT(effects.messages, SizeIs(2));
  const auto& [worker, message] = effects.messages[0];
  EXPECT_EQ(worker, "a");
  EXPECT_EQ(message.launch().job(), "j-1");
  EXPECT_EQ(message.launch().attempt(), 1u);
  EXPECT_EQ(message.launch().world_size(), 3u);
  EXPECT_EQ(message.launch().resume_path(), "");
  EXPECT_TRUE(MessageDifferencer::Equals(message.launch().file(), File("j", 3)));
  ASSERT_THAT(message.launch().placements(), SizeIs(2));
  EXPECT_EQ(message.launch().placements(1).rank(), 1u);
  EXPECT_EQ(message.launch().placements(1).slot(), 1u);
  EXPECT_EQ(message.launch().placements(1).instance(), "i1");
  EXPECT_EQ(effects.messages[1].first, "b");
  EXPECT_EQ(effects.messages[1].second.launch().placements(0).rank(), 2u);
}

TEST_F(ClusterTest, AFailedRankStopsTheOthers) {
  Register("a", 1);
  Register("b", 1);
  Submit(File("j", 2));
  Pass();
  StartRanks("j-1");
  cluster_->Take();
  Report(Exited(Ref("j-1", 1, 1), 1, "b", "out of memory"), "b");
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1 soon", "b: stop j-1/1 soon"));
  EXPECT_TRUE(Newest("j-1").stopping());
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_RUNNING);  // until rank 0 has ended
  Report(Stopped(Ref("j-1", 1, 0)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_TRAINER_FAILED);
  EXPECT_EQ(Newest("j-1").exit().rank(), 1u);
  EXPECT_THAT(Job("j-1").message(), HasSubstr("rank 1 on b exited with code 1: out of memory"));
  EXPECT_EQ(Job("j-1").failures(), 1u);
}

TEST_F(ClusterTest, TheFirstFailureIsTheReason) {
  Train(File("j", 2));
  Report(Exited(Ref("j-1", 1, 0), 1, "a", "the cause"));
  Report(Exited(Ref("j-1", 1, 1), 1, "a", "lost its peer"));
  EXPECT_THAT(Job("j-1").message(), HasSubstr("the cause"));
  EXPECT_EQ(Job("j-1").failures(), 1u);
}

TEST_F(ClusterTest, ASignalIsNamed) {
  Train(File("j"));
  v1::Report killed = Exited(Ref("j-1", 1, 0), -1);
  killed.mutable_exited()->mutable_exit()->set_signal(9);
  killed.mutable_exited()->mutable_exit()->add_last_lines("step 17");
  Report(killed);
  EXPECT_EQ(Job("j-1").message(), "rank 0 on a was killed by signal 9");
  EXPECT_THAT(Newest("j-1").exit().last_lines(), ElementsAre("step 17"));
}

TEST_F(ClusterTest, RetriesWaitLongerEachTime) {
  Train(File("j"));
  Report(Exited(Ref("j-1", 1, 0), 1, "a", "bad luck"));
  EXPECT_EQ(Job("j-1").waiting().reason(), v1::WAIT_REASON_BACKOFF);
  EXPECT_THAT(Job("j-1").waiting().detail(), HasSubstr("attempt 1 ended: rank 0 on a exited with code 1: bad luck"));
  EXPECT_EQ(Job("j-1").waiting().until_ms(), now_ms_ + 1000);
  Pass(999);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
  Pass(1);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);
  Report(Exited(Ref("j-1", 2, 0), 1));
  EXPECT_EQ(Job("j-1").waiting().until_ms(), now_ms_ + 2000);
}

TEST_F(ClusterTest, ACheckpointStartsTheBackoffAnew) {
  Train(File("j"));
  NextAttempt(Exited(Ref("j-1", 1, 0), 1));
  Report(Saved(Ref("j-1", 2, 0), 10));
  Report(Exited(Ref("j-1", 2, 0), 1));
  EXPECT_EQ(Job("j-1").waiting().until_ms(), now_ms_ + 1000);
}

TEST_F(ClusterTest, TheFirstBackoffIsAtMostASecond) {
  v1::JobFile file = File("j");
  file.mutable_spec()->mutable_restart()->set_backoff_seconds(7);
  Train(file);
  Report(Exited(Ref("j-1", 1, 0), 1));
  EXPECT_EQ(Job("j-1").waiting().until_ms(), now_ms_ + 1000);
  Pass(1000);
  Report(Exited(Ref("j-1", 2, 0), 1));
  EXPECT_EQ(Job("j-1").waiting().until_ms(), now_ms_ + 14'000);
}

TEST_F(ClusterTest, NoBackoffIsLongerThanFiveMinutesAndNoneIsNone) {
  for (const double backoff : {0.0, 200.0}) {
    v1::JobFile file = File(absl::StrCat("j", backoff));
    file.mutable_spec()->mutable_restart()->set_backoff_seconds(backoff);
    file.mutable_spec()->mutable_restart()->set_max_worker_losses(5000);
    Submit(file);
    v1::Job job = Job(absl::StrCat(file.metadata().name(), "-1"));
    for (int i = 0; i < 4000; ++i) {  // so many that doubling leaves every number
      job.add_attempts()->set_number(i + 1);
      job.mutable_attempts(i)->set_ended_ms(now_ms_);
    }
    cluster_->Restore(job, "again", now_ms_);
    Register("a", 1);
    Pass();
    Register("a", 1, absl::StrCat("restarted ", backoff));
    EXPECT_EQ(Job(job.id()).waiting().until_ms() - now_ms_, backoff == 0 ? 0 : 300'000);
    ASSERT_TRUE(cluster_->Cancel(job.id(), now_ms_).ok());
  }
}

TEST_F(ClusterTest, FailuresAreRetriedAsOftenAsAllowed) {
  Train(File("j"));  // two retries
  NextAttempt(Exited(Ref("j-1", 1, 0), 1));
  NextAttempt(Exited(Ref("j-1", 2, 0), 1));
  Report(Exited(Ref("j-1", 3, 0), 1, "a", "again"));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(Job("j-1").message(), HasSubstr("again (given up after 3 failed attempts)"));
  EXPECT_EQ(Job("j-1").attempts_size(), 3);
}

TEST_F(ClusterTest, LostWorkersAreNotTheJobsFault) {
  Train(File("j"));  // two failures and three losses
  NextAttempt(Exited(Ref("j-1", 1, 0), 1));
  for (uint32_t attempt = 2; attempt <= 4; ++attempt) NextAttempt(Stopped(Ref("j-1", attempt, 0)));
  NextAttempt(Exited(Ref("j-1", 5, 0), 1));
  EXPECT_EQ(Job("j-1").failures(), 2u);
  EXPECT_EQ(Job("j-1").worker_losses(), 3u);
  Report(Stopped(Ref("j-1", 6, 0)));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(Job("j-1").message(), HasSubstr("given up after 4 lost attempts"));
}

TEST_F(ClusterTest, AFileThatTheTrainerRefusesIsNotTriedAgain) {
  Train(File("j"));
  Report(Exited(Ref("j-1", 1, 0), 2, "a", "vocabulary too small"));
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(Job("j-1").message(), HasSubstr("vocabulary too small (not retried"));
}

TEST_F(ClusterTest, AnAttemptResumesFromTheNewestCheckpoint) {
  Train(File("j"));
  Report(Saved(Ref("j-1", 1, 0), 10));
  Report(Saved(Ref("j-1", 1, 0), 20));
  Report(Saved(Ref("j-1", 1, 0), 15));  // late
  EXPECT_EQ(Job("j-1").checkpoint().step(), 20u);
  EXPECT_EQ(Job("j-1").checkpoint().attempt(), 1u);
  EXPECT_EQ(Job("j-1").checkpoint().committed_ms(), now_ms_);
  cluster_->Take();
  NextAttempt(Exited(Ref("j-1", 1, 0), 1));
  const Effects effects = cluster_->Take();
  EXPECT_EQ(effects.messages.back().second.launch().resume_path(), "/checkpoints/j-1/step-20");
  EXPECT_EQ(effects.messages.back().second.launch().attempt(), 2u);
  Report(Started(Ref("j-1", 2, 0), 20));
  EXPECT_EQ(Newest("j-1").start_step(), 20u);
}

TEST_F(ClusterTest, WhatAnOlderAttemptSaysChangesNothing) {
  Train(File("j"));
  Report(Saved(Ref("j-1", 1, 0), 10));
  NextAttempt(Exited(Ref("j-1", 1, 0), 1));
  cluster_->Take();
  const v1::Job before = Job("j-1");
  Report(Started(Ref("j-1", 1, 0), 5));
  Report(Points(Ref("j-1", 1, 0), 30, 9));
  Report(Saved(Ref("j-1", 1, 0), 30));
  Report(Exited(Ref("j-1", 1, 0), 0));
  EXPECT_TRUE(MessageDifferencer::Equals(Job("j-1"), before)) << Job("j-1").DebugString();
  const Effects effects = cluster_->Take();
  EXPECT_THAT(effects.jobs, IsEmpty());
  // Acknowledged, or the daemon would send them for ever; its points are history.
  EXPECT_THAT(effects.messages, SizeIs(4));
  EXPECT_THAT(effects.points, SizeIs(1));
  EXPECT_EQ(effects.points[0].point.attempt, 1u);
}

TEST_F(ClusterTest, ReportsOfStrangersChangeNothing) {
  Train(File("j"));
  Register("b", 1);
  Pass();
  const v1::Job before = Job("j-1");
  Report(Exited(Ref("j-1", 1, 0), 1, "b"), "b");  // not placed there
  Report(Exited(Ref("j-1", 1, 7), 1));            // no such rank
  Report(Exited(Ref("j-1", 0, 0), 1));
  Report(Exited(Ref("j-1", 2, 0), 1));  // an attempt to come
  Report(Exited(Ref("k-1", 1, 0), 1));
  Report(Points(Ref("k-1", 1, 0), 1, 1));
  EXPECT_TRUE(MessageDifferencer::Equals(Job("j-1"), before));
  EXPECT_THAT(cluster_->Take().points, IsEmpty());
}

TEST_F(ClusterTest, TheRankThatReportsIsTheRankThatEnds) {
  Train(File("j", 2));
  v1::Report report = Exited(Ref("j-1", 1, 0), 0);
  report.mutable_exited()->mutable_exit()->set_rank(1);  // a daemon that contradicts itself
  Report(report);
  EXPECT_THAT(Newest("j-1").ended_ranks(), ElementsAre(0u));
}

TEST_F(ClusterTest, ReportsThatComeAgainChangeNothing) {
  Train(File("j", 2));
  const std::vector<v1::Report> reports = {Started(Ref("j-1", 1, 0), 0),   Points(Ref("j-1", 1, 0), 1, 5),
                                           Points(Ref("j-1", 1, 0), 2, 4), Saved(Ref("j-1", 1, 0), 2),
                                           Points(Ref("j-1", 1, 0), 3, 3), Exited(Ref("j-1", 1, 0), 0)};
  for (const v1::Report& report : reports) Report(report);
  cluster_->Take();
  const v1::Job before = Job("j-1");
  EXPECT_EQ(before.progress().step(), 3u);
  now_ms_ += 1000;
  for (const v1::Report& report : reports) {
    Report(report);
    EXPECT_TRUE(MessageDifferencer::Equals(Job("j-1"), before)) << report.ShortDebugString();
  }
}

TEST_F(ClusterTest, PointsThatComeAgainDoNotTurnProgressBack) {
  Train(File("j"));
  for (const uint64_t step : {1, 2, 3, 2}) Report(Points(Ref("j-1", 1, 0), step, 10.0 - static_cast<double>(step)));
  EXPECT_EQ(Job("j-1").progress().step(), 3u);
  EXPECT_EQ(Job("j-1").progress().tokens(), 30u);
  EXPECT_EQ(Job("j-1").progress().loss(), 7);
  // A resumed attempt does start further back.
  NextAttempt(Exited(Ref("j-1", 1, 0), 1));
  Report(Started(Ref("j-1", 2, 0), 1));
  Report(Points(Ref("j-1", 2, 0), 2, 8));
  EXPECT_EQ(Job("j-1").progress().step(), 2u);
}

TEST_F(ClusterTest, PointsAndLogsGoToTheStore) {
  Train(File("j"));
  v1::Report points = Points(Ref("j-1", 1, 0), 4, 2.5);
  (*points.mutable_points()->mutable_values())["val_loss/books"] = 3.5;
  (*points.mutable_points()->mutable_values())["tokens_per_second"] = 700;
  points.mutable_points()->set_time_ms(77);
  Report(points);
  v1::Report log;
  *log.mutable_rank() = Ref("j-1", 1, 0);
  log.mutable_log()->set_number(9);
  log.mutable_log()->set_time_ms(78);
  log.mutable_log()->set_text("hello");
  Report(log);
  const Effects effects = cluster_->Take();
  ASSERT_THAT(effects.points, SizeIs(3));
  EXPECT_EQ(effects.points[0].job, "j-1");
  EXPECT_EQ(effects.points[0].point.step, 4u);
  EXPECT_EQ(effects.points[0].point.tokens, 40u);
  EXPECT_EQ(effects.points[0].point.time_ms, 77);
  ASSERT_THAT(effects.logs, SizeIs(1));
  EXPECT_EQ(effects.logs[0].number, 9u);
  EXPECT_EQ(effects.logs[0].text, "hello");
  EXPECT_EQ(Job("j-1").progress().validation_loss().at("books"), 3.5);
  EXPECT_EQ(Job("j-1").progress().tokens_per_second(), 700);
}

TEST_F(ClusterTest, RanksThatDoNotComeUpInTimeAreStopped) {
  Register("a", 2);
  Submit(File("j", 2));
  Pass();
  Report(Started(Ref("j-1", 1, 0)));
  cluster_->Take();
  for (int64_t passed = 0; passed + 5'000 < config_.start_timeout_ms; passed += 5'000) Pass(5'000);
  EXPECT_THAT(TakeOrders(), IsEmpty());
  Pass(5'000);
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1"));
  EXPECT_EQ(Job("j-1").message(), "only 1 of 2 ranks came up within 120 s");
  Report(Stopped(Ref("j-1", 1, 0)));
  Report(Stopped(Ref("j-1", 1, 1)));
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_START_TIMEOUT);
  EXPECT_EQ(Job("j-1").worker_losses(), 1u);
  EXPECT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
}

TEST_F(ClusterTest, SlotsAreFreeWhenTheirRankHasEnded) {
  Train(File("j", 2));
  Submit(File("k"));
  Pass();
  EXPECT_EQ(Job("k-1").waiting().reason(), v1::WAIT_REASON_SLOTS_BUSY);
  Report(Exited(Ref("j-1", 1, 1), 0));
  Pass();
  EXPECT_EQ(Newest("k-1").placements(0).slot(), 1u);
}

}  // namespace
}  // namespace polymoe
