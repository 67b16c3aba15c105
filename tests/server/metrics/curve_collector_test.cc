// What a scrape finds of the curves: every milestone that has a value, of the runs that count.
#include "server/metrics/curve_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "polymoe/v1/job.pb.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

v1::Job Job(const std::string& id, v1::JobState state = v1::JOB_STATE_RUNNING, int64_t finished_ms = 0) {
  v1::Job job;
  job.set_id(id);
  job.mutable_file()->mutable_spec()->mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_POLYNORM);
  job.mutable_file()->mutable_spec()->mutable_train()->set_seed(7);
  job.set_state(state);
  job.set_finished_ms(finished_ms);
  job.mutable_progress()->set_tokens(1);
  return job;
}

class CurveCollectorTest : public ::testing::Test {
 protected:
  void Show(const std::vector<v1::Job>& jobs) {
    auto view = std::make_shared<View>();
    for (const v1::Job& job : jobs) view->jobs[job.id()] = std::make_shared<v1::Job>(job);
    collector_.OnCommit({.view = view});
  }
  std::vector<std::string> Lines(const std::string& text = "{") const {
    std::vector<std::string> lines;
    for (const absl::string_view line : absl::StrSplit(prometheus::TextSerializer().Serialize(collector_.Collect()), '\n')) {
      if (!absl::StartsWith(line, "#") && absl::StrContains(line, text)) lines.emplace_back(line);
    }
    return lines;
  }

  std::map<std::string, JobCurves> curves_;  // by job; NOT_FOUND for others
  CurveCollector collector_{[this](const v1::Job& job) -> absl::StatusOr<std::shared_ptr<const JobCurves>> {
                              if (!curves_.contains(job.id())) return absl::NotFoundError("no such curves");
                              return std::make_shared<const JobCurves>(curves_.at(job.id()));
                            },
                            /*ended_runs_kept=*/2};
};

TEST_F(CurveCollectorTest, EveryMilestoneIsASeries) {
  curves_["j"] = {.milestones = {50, 100000000},
                  .curves = {{"loss", {5, 4.5}}, {"val_loss/books", {6, 5.5}}, {"val_bpb/books", {2, 1}}}};
  v1::Job job = Job("j");
  job.mutable_ablation()->set_id("act-1");
  job.mutable_ablation()->set_arm("relu");
  Show({job});
  const std::string run = "run=\"j\",ablation=\"act-1\",arm=\"relu\",activation=\"polynorm\",seed=\"7\",";
  EXPECT_THAT(Lines(), UnorderedElementsAre(
                           absl::StrCat("polymoe_curve_loss{", run, "split=\"train\",domain=\"train\",tokens=\"50\"} 5"),
                           absl::StrCat("polymoe_curve_loss{", run, "split=\"train\",domain=\"train\",tokens=\"100000000\"} 4.5"),
                           absl::StrCat("polymoe_curve_loss{", run, "split=\"val\",domain=\"books\",tokens=\"50\"} 6"),
                           absl::StrCat("polymoe_curve_loss{", run, "split=\"val\",domain=\"books\",tokens=\"100000000\"} 5.5"),
                           absl::StrCat("polymoe_curve_bpb{", run, "split=\"val\",domain=\"books\",tokens=\"50\"} 2"),
                           absl::StrCat("polymoe_curve_bpb{", run, "split=\"val\",domain=\"books\",tokens=\"100000000\"} 1")));
}

TEST_F(CurveCollectorTest, AMilestoneWithoutAValueHasNoSeries) {
  curves_["j"] = {.milestones = {10, 20, 30, 40},
                  .curves = {{"loss", {5, 4, kNone, kNone}}, {"val_loss/books", {kNone, 5, kNone, kNone}}}};
  Show({Job("j")});
  EXPECT_THAT(Lines("split=\"train\""), UnorderedElementsAre(HasSubstr("tokens=\"10\"} 5"), HasSubstr("tokens=\"20\"} 4")));
  EXPECT_THAT(Lines("split=\"val\""), UnorderedElementsAre(HasSubstr("tokens=\"20\"} 5")));
}

TEST_F(CurveCollectorTest, RunsThatEndedLastStayBesideThoseThatGoOn) {
  std::vector<v1::Job> jobs = {Job("runs"), Job("waits", v1::JOB_STATE_PENDING), Job("first", v1::JOB_STATE_FAILED, 10),
                               Job("third", v1::JOB_STATE_SUCCEEDED, 30), Job("second", v1::JOB_STATE_CANCELLED, 20)};
  v1::Job fresh = Job("fresh", v1::JOB_STATE_PENDING);
  fresh.clear_progress();
  jobs.push_back(fresh);
  for (const v1::Job& job : jobs) curves_[job.id()] = {.milestones = {10}, .curves = {{"loss", {5}}}};
  Show(jobs);
  EXPECT_THAT(Lines(),
              UnorderedElementsAre(HasSubstr("\"runs\""), HasSubstr("\"waits\""), HasSubstr("\"second\""), HasSubstr("\"third\"")));
}

TEST_F(CurveCollectorTest, ARunThatCannotBeReadLeavesTheOthers) {
  curves_["good"] = {.milestones = {10}, .curves = {{"loss", {5}}}};
  Show({Job("bad"), Job("good")});
  EXPECT_THAT(Lines(), UnorderedElementsAre(HasSubstr("\"good\"")));
}

TEST_F(CurveCollectorTest, WithoutRunsThereIsNothing) {
  EXPECT_THAT(collector_.Collect(), IsEmpty());
}

}  // namespace
}  // namespace polymoe
