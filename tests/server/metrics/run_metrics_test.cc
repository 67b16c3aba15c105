// What /metrics shows of runs: the newest values under bounded labels, and nothing of runs that ended long ago.
#include "server/metrics/run_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "polymoe/v1/job.pb.h"
#include "polymoe/v1/metric.pb.h"

#include "common/version.h"
#include "server/metrics/commit_exporter.h"

namespace polymoe {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

v1::Job Job(const std::string& id, v1::JobState state = v1::JOB_STATE_RUNNING) {
  v1::Job job;
  job.set_id(id);
  job.mutable_file()->mutable_metadata()->set_name("name of " + id);
  job.mutable_file()->mutable_spec()->mutable_model()->set_architecture(v1::ARCHITECTURE_MOE);
  job.mutable_file()->mutable_spec()->mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_POLYNORM);
  job.mutable_file()->mutable_spec()->mutable_train()->set_tokens(5000);
  job.mutable_file()->mutable_spec()->mutable_train()->set_seed(7);
  job.mutable_file()->mutable_spec()->mutable_data()->set_train("/data/books");
  job.set_state(state);
  job.add_attempts()->set_number(1);
  return job;
}

v1::StepPoints Step(uint64_t step, const std::map<std::string, double>& values) {
  v1::StepPoints points;
  points.set_step(step);
  points.set_tokens(step * 100);
  points.set_time_ms(1500);
  points.mutable_values()->insert(values.begin(), values.end());
  return points;
}

class RunMetricsTest : public ::testing::Test {
 protected:
  // The samples that a scrape finds, those that contain `text`.
  std::vector<std::string> Lines(const std::string& text) const {
    std::vector<std::string> lines;
    for (const absl::string_view line : absl::StrSplit(prometheus::TextSerializer().Serialize(registry_.Collect()), '\n')) {
      if (!absl::StartsWith(line, "#") && absl::StrContains(line, text)) lines.emplace_back(line);
    }
    return lines;
  }

  prometheus::Registry registry_;
};

TEST_F(RunMetricsTest, ARunIsDescribedOnceAndNamedEverywhere) {
  RunMetrics metrics(registry_, 10);
  metrics.OnJob(Job("j-1"));
  metrics.OnPoints("j-1", Step(3, {{"loss", 2.5}}));
  EXPECT_THAT(Lines("polymoe_run_info"),
              testing::ElementsAre(absl::StrCat("polymoe_run_info{ablation=\"\",activation=\"polynorm\",arm=\"\",dataset=\"/data/"
                                                "books\",model=\"moe\",name=\"name of j-1\","
                                                "run=\"j-1\",seed=\"7\",version=\"",
                                                kVersion, "\"} 1")));
  EXPECT_THAT(Lines("polymoe_train_loss"), Contains("polymoe_train_loss{run=\"j-1\"} 2.5"));
  EXPECT_THAT(Lines(""), Each(testing::AnyOf(IsEmpty(), HasSubstr("run=\"j-1\""))));
  EXPECT_THAT(Lines("books"), SizeIs(1));
}

TEST_F(RunMetricsTest, ARunOfAnAblationSaysOfWhichArm) {
  RunMetrics metrics(registry_, 10);
  v1::Job job = Job("j-1");
  job.mutable_ablation()->set_id("act-1");
  job.mutable_ablation()->set_arm("relu");
  metrics.OnJob(job);
  EXPECT_THAT(Lines("polymoe_run_info"),
              testing::ElementsAre(testing::AllOf(HasSubstr("ablation=\"act-1\""), HasSubstr("arm=\"relu\""))));
}

TEST_F(RunMetricsTest, ExactlyOneStateIsOne) {
  RunMetrics metrics(registry_, 10);
  metrics.OnJob(Job("j-1", v1::JOB_STATE_PENDING));
  metrics.OnJob(Job("j-1", v1::JOB_STATE_RUNNING));
  EXPECT_THAT(Lines("polymoe_run_state"), SizeIs(6));
  EXPECT_THAT(Lines("} 1"), Contains("polymoe_run_state{run=\"j-1\",state=\"running\"} 1"));
  EXPECT_THAT(Lines("polymoe_run_state{run=\"j-1\",state=\"pending\"} 0"), SizeIs(1));
}

TEST_F(RunMetricsTest, ProgressIsInBaseUnits) {
  RunMetrics metrics(registry_, 10);
  v1::Job job = Job("j-1");
  job.mutable_checkpoint()->set_committed_ms(2500);
  metrics.OnJob(job);
  metrics.OnPoints("j-1", Step(3, {{"step_seconds", 0.25}}));
  EXPECT_THAT(Lines("polymoe_train_steps{"), Contains(HasSubstr("} 3")));
  EXPECT_THAT(Lines("polymoe_train_tokens{"), Contains(HasSubstr("} 300")));
  EXPECT_THAT(Lines("polymoe_train_tokens_target{"), Contains(HasSubstr("} 5000")));
  EXPECT_THAT(Lines("polymoe_train_last_step_timestamp_seconds"), Contains(HasSubstr("} 1.5")));
  EXPECT_THAT(Lines("polymoe_checkpoint_last_success_timestamp_seconds"), Contains(HasSubstr("} 2.5")));
  EXPECT_THAT(Lines("polymoe_train_step_duration_seconds"), Contains(HasSubstr("} 0.25")));
}

TEST_F(RunMetricsTest, PartsOfANameBecomeLabels) {
  RunMetrics metrics(registry_, 10);
  metrics.OnJob(Job("j"));
  metrics.OnPoints("j", Step(1, {{"val_loss/books", 1.5}, {"coef/3/w2", 0.5}, {"z_loss", 4}, {"load_balance_loss", 8}}));
  EXPECT_THAT(Lines("polymoe_val_loss"), Contains("polymoe_val_loss{run=\"j\",set=\"books\"} 1.5"));
  EXPECT_THAT(Lines("coefficient"), Contains("polymoe_polycom_coefficient{layer=\"3\",run=\"j\",term=\"w2\"} 0.5"));
  EXPECT_THAT(Lines("component=\"z\""), SizeIs(1));
  EXPECT_THAT(Lines("component=\"load_balance\""), SizeIs(1));
}

TEST_F(RunMetricsTest, WhatHasNoBoundIsNotExported) {
  RunMetrics metrics(registry_, 10);
  metrics.OnJob(Job("j"));
  const size_t before = Lines("run=").size();
  metrics.OnPoints("j", Step(1, {{"coef/3/7/w2", 1}, {"effective_rank/3", 1}, {"invented", 1}, {"loss/x", 1}, {"val_loss", 1}}));
  EXPECT_EQ(Lines("run=").size(), before + 3);  // step, tokens and time alone
}

// A point of every name that trainers report beside those above, and the sample that it becomes.
TEST_F(RunMetricsTest, AnalysesAndRouterStatisticsHaveTheirFamilies) {
  const std::map<std::string, std::string> samples = {
      {"effective_rank/3/up", "polymoe_effective_rank{layer=\"3\",matrix=\"up\",run=\"j\"} 0.5"},
      {"effective_rank/3/down", "polymoe_effective_rank{layer=\"3\",matrix=\"down\",run=\"j\"} 0.5"},
      {"layer_cosine/1/3", "polymoe_layer_cosine{layer=\"1\",other=\"3\",run=\"j\"} 0.5"},
      {"act_mean/3", "polymoe_activation_mean{layer=\"3\",run=\"j\"} 0.5"},
      {"act_std/3", "polymoe_activation_std{layer=\"3\",run=\"j\"} 0.5"},
      {"act_abs_max/3", "polymoe_activation_abs_max{layer=\"3\",run=\"j\"} 0.5"},
      {"act_zero_share/3", "polymoe_activation_zero_ratio{layer=\"3\",run=\"j\"} 0.5"},
      {"router_max_over_mean/3", "polymoe_expert_load_max_over_mean{layer=\"3\",run=\"j\"} 0.5"},
      {"router_min_over_mean/3", "polymoe_expert_load_min_over_mean{layer=\"3\",run=\"j\"} 0.5"},
      {"router_cv/3", "polymoe_expert_load_cv{layer=\"3\",run=\"j\"} 0.5"},
      {"router_dead/3", "polymoe_experts_dead{layer=\"3\",run=\"j\"} 0.5"},
  };
  RunMetrics metrics(registry_, 10);
  metrics.OnJob(Job("j"));
  for (const auto& [point, sample] : samples) {
    metrics.OnPoints("j", Step(1, {{point, 0.5}}));
    EXPECT_THAT(Lines("} 0.5"), Contains(sample)) << point;
  }
}

TEST_F(RunMetricsTest, LoadsOfSingleExpertsAreShownToWhoAsksForThem) {
  RunMetrics metrics(registry_, 10);
  metrics.OnJob(Job("quiet"));
  v1::Job job = Job("loud");
  job.mutable_file()->mutable_spec()->mutable_metrics()->set_per_expert(true);
  metrics.OnJob(job);
  for (const char* run : {"quiet", "loud"}) metrics.OnPoints(run, Step(1, {{"router_load/2/0", 0.25}, {"router_load/2/1", 0.75}}));
  EXPECT_THAT(Lines("polymoe_expert_load{"),
              testing::UnorderedElementsAre("polymoe_expert_load{expert=\"0\",layer=\"2\",run=\"loud\"} 0.25",
                                            "polymoe_expert_load{expert=\"1\",layer=\"2\",run=\"loud\"} 0.75"));
}

TEST_F(RunMetricsTest, EveryExpertOfEveryReportIsInTheHistogramOfItsLayer) {
  RunMetrics metrics(registry_, 10);
  v1::Job job = Job("j");
  metrics.OnJob(job);
  // Over the mean: 0.2, 1.4, 1.4 and 0.4, 0.4, 2.2.
  metrics.OnPoints("j", Step(1, {{"router_load/2/0", 0.2 / 3}, {"router_load/2/1", 1.4 / 3}, {"router_load/2/2", 1.4 / 3}}));
  metrics.OnPoints("j", Step(11, {{"router_load/2/0", 0.4 / 3}, {"router_load/2/1", 0.4 / 3}, {"router_load/2/2", 2.2 / 3}}));
  for (const auto& [le, count] :
       std::map<std::string, int>{{"0.1", 0}, {"0.25", 1}, {"0.5", 3}, {"1.5", 5}, {"3", 6}, {"+Inf", 6}}) {
    EXPECT_THAT(Lines("polymoe_expert_load_ratio_bucket"),
                Contains(absl::StrCat("polymoe_expert_load_ratio_bucket{layer=\"2\",run=\"j\",le=\"", le, "\"} ", count)));
  }
}

TEST_F(RunMetricsTest, AStepCountsOnceInAnAttempt) {
  RunMetrics metrics(registry_, 10);
  v1::Job job = Job("j");
  metrics.OnJob(job);
  metrics.OnPoints("j", Step(1, {{"step_seconds", 0.2}}));
  metrics.OnPoints("j", Step(2, {{"step_seconds", 4}}));
  metrics.OnPoints("j", Step(2, {{"step_seconds", 4}}));  // reported again after a lost connection
  EXPECT_THAT(Lines("polymoe_train_step_seconds_bucket"),
              testing::IsSupersetOf({"polymoe_train_step_seconds_bucket{run=\"j\",le=\"0.25\"} 1",
                                     "polymoe_train_step_seconds_bucket{run=\"j\",le=\"5\"} 2"}));
  job.add_attempts()->set_number(2);  // from the checkpoint of step 1: step 2 is done again
  metrics.OnJob(job);
  metrics.OnPoints("j", Step(2, {{"step_seconds", 4}}));
  EXPECT_THAT(Lines("polymoe_train_step_seconds_count"), testing::ElementsAre("polymoe_train_step_seconds_count{run=\"j\"} 3"));
}

TEST_F(RunMetricsTest, RanksAndTheSlowestOfThem) {
  RunMetrics metrics(registry_, 10);
  v1::Job job = Job("j");
  metrics.OnJob(job);
  metrics.OnPoints("j", Step(1, {{"rank_seconds/0", 1}, {"rank_seconds/1", 3}, {"rank_wait_seconds/0", 2}, {"loss", 1}}));
  EXPECT_THAT(Lines("polymoe_rank_step_seconds"), Contains("polymoe_rank_step_seconds{rank=\"1\",run=\"j\"} 3"));
  EXPECT_THAT(Lines("polymoe_rank_wait_seconds"), Contains("polymoe_rank_wait_seconds{rank=\"0\",run=\"j\"} 2"));
  EXPECT_THAT(Lines("polymoe_straggler_ratio"), Contains("polymoe_straggler_ratio{run=\"j\"} 1.5"));
  metrics.OnJob(job);
  EXPECT_THAT(Lines("polymoe_rank_step_seconds"), SizeIs(2));
  // The next attempt has one rank.
  job.add_attempts()->set_number(2);
  metrics.OnJob(job);
  EXPECT_THAT(Lines("rank"), IsEmpty());
  EXPECT_THAT(Lines("straggler"), IsEmpty());
  metrics.OnPoints("j", Step(2, {{"rank_seconds/0", 1}}));
  EXPECT_THAT(Lines("polymoe_rank_step_seconds"), SizeIs(1));
}

TEST_F(RunMetricsTest, TheSameSeriesIsSetAgain) {
  RunMetrics metrics(registry_, 10);
  metrics.OnJob(Job("j"));
  metrics.OnPoints("j", Step(1, {{"loss", 5}}));
  metrics.OnPoints("j", Step(2, {{"loss", 4}}));
  EXPECT_THAT(Lines("polymoe_train_loss{"), testing::ElementsAre("polymoe_train_loss{run=\"j\"} 4"));
}

TEST_F(RunMetricsTest, RunsThatEndedLongAgoAreGone) {
  RunMetrics metrics(registry_, 2);
  metrics.OnJob(Job("runs"));
  for (int i = 1; i <= 5; ++i) {
    const std::string id = absl::StrCat("j-", i);
    metrics.OnJob(Job(id));
    metrics.OnPoints(id, Step(1, {{"loss", 5}, {"val_loss/books", 5}, {"step_seconds", 1}, {"router_load/0/0", 1}}));
    metrics.OnJob(Job(id, v1::JOB_STATE_SUCCEEDED));
    metrics.OnJob(Job(id, v1::JOB_STATE_SUCCEEDED));  // said twice, ended once
  }
  EXPECT_THAT(Lines("run=\"j-3\""), IsEmpty());
  EXPECT_THAT(Lines("run=\"j-4\""), Not(IsEmpty()));
  EXPECT_THAT(Lines("run=\"runs\""), Not(IsEmpty()));
  metrics.OnPoints("j-1", Step(9, {{"loss", 5}}));  // late
  EXPECT_THAT(Lines("run=\"j-1\""), IsEmpty());
}

TEST_F(RunMetricsTest, NamesFollowTheConventions) {
  RunMetrics metrics(registry_, 10);
  for (const prometheus::MetricFamily& family : registry_.Collect()) {
    EXPECT_THAT(family.name, StartsWith("polymoe_"));
    EXPECT_FALSE(family.help.empty()) << family.name;
  }
}

PointRow Row(const std::string& job, uint32_t attempt, uint64_t step, double value) {
  return {job, "loss", {.attempt = attempt, .step = step, .tokens = step, .time_ms = 1, .value = value}};
}

TEST_F(RunMetricsTest, TheNewestStepOfTheNewestAttemptIsShown) {
  CommitExporter exporter(registry_, 10);
  auto view = std::make_shared<View>();
  v1::Job job = Job("j");
  job.add_attempts()->set_number(2);
  view->jobs["j"] = std::make_shared<v1::Job>(job);
  exporter.OnCommit({.view = view,
                     .jobs = {view->jobs["j"]},
                     .points = {Row("j", 2, 8, 2), Row("j", 2, 7, 3), Row("j", 1, 9, 1), Row("unknown", 1, 1, 1)}});
  EXPECT_THAT(Lines("polymoe_train_loss{"), testing::ElementsAre("polymoe_train_loss{run=\"j\"} 2"));
  EXPECT_THAT(Lines("unknown"), IsEmpty());
}

TEST_F(RunMetricsTest, AfterARestartTheRunsThatEndedLastAreShown) {
  CommitExporter exporter(registry_, 2);
  View view;
  for (const auto& [id, finished_ms] : std::map<std::string, int64_t>{{"a", 30}, {"b", 10}, {"c", 20}, {"d", 0}}) {
    v1::Job job = Job(id, finished_ms == 0 ? v1::JOB_STATE_RUNNING : v1::JOB_STATE_SUCCEEDED);
    job.set_finished_ms(finished_ms);
    view.jobs[id] = std::make_shared<v1::Job>(job);
  }
  exporter.ShowAll(view);
  EXPECT_THAT(Lines("run=\"b\""), IsEmpty());
  for (const std::string shown : {"a", "c", "d"}) EXPECT_THAT(Lines(absl::StrCat("run=\"", shown, "\"")), Not(IsEmpty())) << shown;
}

}  // namespace
}  // namespace polymoe
