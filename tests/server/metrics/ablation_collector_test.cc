// What a scrape finds of ablations: their state, their runs by state, and how far they are.
#include "server/metrics/ablation_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job.pb.h"

namespace polymoe {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class AblationCollectorTest : public ::testing::Test {
 protected:
  void AddRun(v1::Ablation& ablation, v1::JobState state, uint64_t tokens) {
    auto job = std::make_shared<v1::Job>();
    job->set_id(absl::StrCat(ablation.id(), "-", ablation.runs_size()));
    job->set_state(state);
    job->mutable_progress()->set_tokens_target(1000);
    job->mutable_progress()->set_tokens(tokens);
    ablation.add_runs()->set_job(job->id());
    view_->jobs[job->id()] = job;
  }
  v1::Ablation Make(const std::string& id, v1::AblationState state, int64_t finished_ms = 0) {
    v1::Ablation ablation;
    ablation.set_id(id);
    ablation.mutable_file()->mutable_metadata()->set_name("name of " + id);
    ablation.set_state(state);
    ablation.set_finished_ms(finished_ms);
    return ablation;
  }
  void Show(const v1::Ablation& ablation) {
    view_->ablations[ablation.id()] = std::make_shared<v1::Ablation>(ablation);
    collector_.Show(view_);
  }
  std::vector<std::string> Lines(const std::string& text) const {
    std::vector<std::string> lines;
    for (const absl::string_view line : absl::StrSplit(prometheus::TextSerializer().Serialize(collector_.Collect()), '\n')) {
      if (!absl::StartsWith(line, "#") && absl::StrContains(line, text)) lines.emplace_back(line);
    }
    return lines;
  }

  std::shared_ptr<View> view_ = std::make_shared<View>();
  AblationCollector collector_{/*ended_kept=*/2};
};

TEST_F(AblationCollectorTest, SaysWhatItIsAndHowItsRunsAre) {
  v1::Ablation ablation = Make("a", v1::ABLATION_STATE_PAUSED);
  AddRun(ablation, v1::JOB_STATE_RUNNING, 500);
  AddRun(ablation, v1::JOB_STATE_PENDING, 0);
  AddRun(ablation, v1::JOB_STATE_PENDING, 0);
  Show(ablation);
  EXPECT_THAT(Lines("_info"), ElementsAre("polymoe_ablation_info{ablation=\"a\",name=\"name of a\"} 1"));
  EXPECT_THAT(Lines("polymoe_ablation_state"), SizeIs(5));
  EXPECT_THAT(Lines("} 1"), Contains("polymoe_ablation_state{ablation=\"a\",state=\"paused\"} 1"));
  EXPECT_THAT(Lines("polymoe_ablation_state{ablation=\"a\",state=\"active\"}"),
              ElementsAre("polymoe_ablation_state{ablation=\"a\",state=\"active\"} 0"));
  EXPECT_THAT(Lines("polymoe_ablation_runs"), SizeIs(6));
  EXPECT_THAT(Lines("polymoe_ablation_runs"), Contains("polymoe_ablation_runs{ablation=\"a\",state=\"pending\"} 2"));
  EXPECT_THAT(Lines("polymoe_ablation_runs"), Contains("polymoe_ablation_runs{ablation=\"a\",state=\"succeeded\"} 0"));
}

TEST_F(AblationCollectorTest, WhatEndedEarlyHasNothingMoreToDo) {
  v1::Ablation ablation = Make("a", v1::ABLATION_STATE_ACTIVE);
  AddRun(ablation, v1::JOB_STATE_SUCCEEDED, 1000);
  AddRun(ablation, v1::JOB_STATE_CANCELLED, 500);
  AddRun(ablation, v1::JOB_STATE_RUNNING, 0);
  Show(ablation);
  EXPECT_THAT(Lines("progress"), ElementsAre("polymoe_ablation_progress_ratio{ablation=\"a\"} 0.6"));
}

TEST_F(AblationCollectorTest, WhereNothingWasTrained) {
  v1::Ablation waits = Make("waits", v1::ABLATION_STATE_ACTIVE), cancelled = Make("cancelled", v1::ABLATION_STATE_CANCELLED);
  AddRun(waits, v1::JOB_STATE_PENDING, 0);
  AddRun(cancelled, v1::JOB_STATE_CANCELLED, 0);
  Show(waits);
  Show(cancelled);
  EXPECT_THAT(Lines("progress_ratio{ablation=\"waits\"}"), ElementsAre(testing::EndsWith(" 0")));
  EXPECT_THAT(Lines("progress_ratio{ablation=\"cancelled\"}"), ElementsAre(testing::EndsWith(" 1")));
}

TEST_F(AblationCollectorTest, ThoseThatEndedLongAgoAreGone) {
  Show(Make("goes-on", v1::ABLATION_STATE_ACTIVE));
  Show(Make("first", v1::ABLATION_STATE_SUCCEEDED, 10));
  Show(Make("third", v1::ABLATION_STATE_FAILED, 30));
  Show(Make("second", v1::ABLATION_STATE_CANCELLED, 20));
  EXPECT_THAT(Lines("\"first\""), IsEmpty());
  for (const std::string shown : {"goes-on", "second", "third"})
    EXPECT_THAT(Lines(absl::StrCat("\"", shown, "\"")), Not(IsEmpty())) << shown;
}

}  // namespace
}  // namespace polymoe
