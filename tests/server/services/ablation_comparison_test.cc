// CompareAblation: the figures of arms, what may be said about them, and that it comes over the wire.
#include "server/services/ablation_comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/spec/ablation.h"
#include "common/spec/model_shape.h"
#include "tests/server/fake_store.h"
#include "tests/server/services/service_harness.h"
#include "tests/server/state/ablation_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// An ablation and its jobs as they are after a commit, without the coordinator. Steps are 10 tokens, of 1000.
class AblationComparisonTest : public ::testing::Test {
 protected:
  // `arms` and `seeds` in YAML; `more` of spec.
  void Make(const std::string& arms, const std::string& seeds = "[1, 2, 3]", const std::string& more = "",
            const std::string& tokens = "1000") {
    auto file = ParseAblationFile(
        absl::StrCat(
            "apiVersion: polymoe/v1\nkind: Ablation\nmetadata: {name: study}\nspec:\n  base:\n"
            "    model: {layers: 1, hidden: 8, heads: 1, ffn: 8, experts: 2, topK: 1, vocab: 257, activation: {kind: relu}}\n"
            "    data: {train: /d, sequenceLength: 10}\n    train: {globalBatch: 1, microBatch: 1}\n"
            "    validation: {sets: [{name: near, path: /n}, {name: far, path: /f}]}\n",
            "  arms: ", arms, "\n  seeds: ", seeds, "\n  budget: {tokens: ", tokens, "}\n", more),
        "ablation.yaml");
    POLYMOE_CHECK(file.ok(), "%s", file.status().ToString().c_str());
    const auto planned = PlanRuns(*file);
    POLYMOE_CHECK(planned.ok(), "%s", planned.status().ToString().c_str());
    ablation_.set_id("study-1");
    *ablation_.mutable_file() = *file;
    for (const PlannedRun& plan : *planned) {
      v1::AblationRun& run = *ablation_.add_runs();
      run.set_arm(plan.arm);
      run.set_seed(plan.seed);
      run.set_job(IdOf(plan.arm, plan.seed));
      v1::Job& job = jobs_[run.job()];
      job.set_id(run.job());
      *job.mutable_file() = plan.job;
      job.set_state(v1::JOB_STATE_RUNNING);
      v1::Attempt& attempt = *job.add_attempts();
      attempt.set_number(1);
      attempt.add_started_ranks(0);
    }
  }
  static std::string IdOf(const std::string& arm, uint64_t seed) { return absl::StrCat(arm, "-s", seed); }

  void Report(const std::string& arm, uint64_t seed, const std::string& metric, uint64_t tokens, double value) {
    StoreBatch batch;
    batch.points = {{IdOf(arm, seed), metric, {.attempt = 1, .step = tokens / 10, .tokens = tokens, .time_ms = 0, .value = value}}};
    POLYMOE_CHECK(store_.Commit(batch).ok());
    jobs_[IdOf(arm, seed)].mutable_progress()->set_tokens(tokens);
  }
  // One validation at the end, of the same loss on both sets.
  void Final(const std::string& arm, const std::vector<double>& by_seed) {
    for (size_t s = 0; s < by_seed.size(); ++s) {
      for (const char* set : {"near", "far"}) Report(arm, s + 1, absl::StrCat("val_loss/", set), 1000, by_seed[s]);
    }
  }

  absl::StatusOr<v1::AblationComparison> Try(const v1::CompareAblationRequest& request) {
    View view;
    view.ablations[ablation_.id()] = std::make_shared<const v1::Ablation>(ablation_);
    for (const auto& [id, job] : jobs_) view.jobs[id] = std::make_shared<const v1::Job>(job);
    CurveBook book(store_);
    return CompareAblation(book, view, request);
  }
  static v1::CompareAblationRequest Of(const std::vector<std::string>& metrics = {}, uint32_t grid = 0) {
    v1::CompareAblationRequest request;
    request.set_ablation("study");
    request.mutable_metrics()->Assign(metrics.begin(), metrics.end());
    request.set_grid(grid);
    return request;
  }
  v1::AblationComparison Compare(const v1::CompareAblationRequest& request) {
    auto comparison = Try(request);
    POLYMOE_CHECK(comparison.ok(), "%s", comparison.status().ToString().c_str());
    return *std::move(comparison);
  }
  static v1::ArmCurve CurveOfArm(const v1::AblationComparison& comparison, const std::string& arm, const std::string& metric) {
    for (const v1::ArmCurve& curve : comparison.curves()) {
      if (curve.arm() == arm && curve.metric() == metric) return curve;
    }
    POLYMOE_CHECK(false, "no curve of %s, %s", arm.c_str(), metric.c_str());
  }
  v1::ArmCurve ValLoss(const std::string& arm) { return CurveOfArm(Compare(Of({"val_loss"})), arm, "val_loss"); }

  v1::Ablation ablation_;
  std::map<std::string, v1::Job> jobs_;
  FakeStore store_;
};

constexpr char kTwoArms[] = "[{name: a, set: {model.activation.kind: relu}}, {name: b, set: {model.activation.kind: polynorm}}]";
constexpr char kFourArms[] =
    "[{name: a, set: {model.ffn: 8}}, {name: b, set: {model.ffn: 9}}, {name: c, set: {model.ffn: 10}}, {name: d, set: {model.ffn: "
    "11}}]";

TEST_F(AblationComparisonTest, FiguresOfAnArm) {
  Make(kTwoArms);
  Final("a", {5, 6, 7});
  Final("b", {4.1, 4.9, 6});
  const v1::AblationComparison comparison = Compare(Of());
  EXPECT_THAT(comparison.tokens(), ElementsAre(100, 200, 300, 400, 500, 600, 700, 800, 900, 1000));
  EXPECT_EQ(comparison.baseline(), "a");
  EXPECT_THAT(comparison.metrics(),
              ElementsAre("val_loss", "val_loss/near", "val_loss/far", "val_bpb", "val_bpb/near", "val_bpb/far", "loss"));
  EXPECT_THAT(comparison.curves(), SizeIs(14));
  const v1::ArmCurve curve = CurveOfArm(comparison, "b", "val_loss");
  EXPECT_EQ(curve.last(), 9u);
  EXPECT_EQ(curve.points(8).n(), 0u);
  const v1::ArmPoint& point = curve.points(9);
  EXPECT_EQ(point.tokens(), 1000u);
  EXPECT_EQ(point.n(), 3u);
  EXPECT_NEAR(point.mean(), 5, 1e-12);
  EXPECT_NEAR(point.sd(), std::sqrt((0.9 * 0.9 + 0.1 * 0.1 + 1) / 2), 1e-12);
  EXPECT_EQ(point.min(), 4.1);
  EXPECT_EQ(point.max(), 6);
  EXPECT_EQ(point.pairs(), 3u);
  // Differences -0.9, -1.1, -1: standard error 0.1 / sqrt 3, and 4.3027 of it to either side (t of 2 degrees of freedom).
  EXPECT_NEAR(point.difference(), -1, 1e-12);
  EXPECT_NEAR(point.low(), -1 - 4.302653 * 0.1 / std::sqrt(3.0), 1e-6);
  EXPECT_NEAR(point.high(), -1 + 4.302653 * 0.1 / std::sqrt(3.0), 1e-6);
  EXPECT_EQ(curve.verdict(), v1::VERDICT_BETTER);
  EXPECT_LT(curve.p_value(), 0.05);
  const v1::ArmCurve baseline = CurveOfArm(comparison, "a", "val_loss");
  EXPECT_EQ(baseline.verdict(), v1::VERDICT_BASELINE);
  EXPECT_EQ(baseline.points(9).pairs(), 0u);
  EXPECT_EQ(CurveOfArm(comparison, "b", "loss").verdict(), v1::VERDICT_TOO_FEW) << "nobody reported one";
}

TEST_F(AblationComparisonTest, AnArmCanBeWorse) {
  Make(kTwoArms);
  Final("a", {5, 6, 7});
  Final("b", {5.9, 7.1, 8});
  EXPECT_EQ(ValLoss("b").verdict(), v1::VERDICT_WORSE);
}

// Alone, each of the three would have p = 0.020; of three arms that are tried, one looks like that too often.
TEST_F(AblationComparisonTest, TheMoreArmsTheLessOneOfThemSays) {
  const std::vector<double> baseline = {5, 6, 7}, arm = {4.7, 5.5, 6.6};
  Make(kFourArms);
  Final("a", baseline);
  Final("b", arm);
  EXPECT_EQ(ValLoss("b").verdict(), v1::VERDICT_BETTER) << "the only one that can be tested yet";
  const double alone = ValLoss("b").p_value();
  Final("c", arm);
  Final("d", arm);
  for (const char* name : {"b", "c", "d"}) {
    EXPECT_EQ(ValLoss(name).verdict(), v1::VERDICT_NO_DIFFERENCE) << name;
    EXPECT_NEAR(ValLoss(name).p_value(), 3 * alone, 1e-12);
  }
}

TEST_F(AblationComparisonTest, ALargeDifferenceThatIsNotSteadyIsNone) {
  Make(kTwoArms);
  Final("a", {5, 6, 7});
  Final("b", {2, 6.5, 5});
  EXPECT_EQ(ValLoss("b").verdict(), v1::VERDICT_NO_DIFFERENCE);
}

TEST_F(AblationComparisonTest, OnePairSaysNothing) {
  Make(kTwoArms);
  Final("a", {5, 6});
  Final("b", {1});
  const v1::ArmCurve curve = ValLoss("b");
  EXPECT_EQ(curve.verdict(), v1::VERDICT_TOO_FEW);
  EXPECT_EQ(curve.points(9).pairs(), 1u);
  EXPECT_EQ(curve.points(9).difference(), -4);
  EXPECT_EQ(curve.points(9).low(), 0);
  EXPECT_EQ(curve.p_value(), 1);
}

TEST_F(AblationComparisonTest, TheVerdictIsAboutTheLastMilestoneOfAllSeeds) {
  Make(kTwoArms);
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    for (uint64_t tokens = 100; tokens <= 1000; tokens += 100) {
      Report("a", seed, "val_loss/near", tokens, 5);
      if (seed < 3 || tokens <= 400) Report("b", seed, "val_loss/near", tokens, 4 + 0.01 * static_cast<double>(seed));
    }
  }
  const v1::ArmCurve curve = CurveOfArm(Compare(Of({"val_loss/near"})), "b", "val_loss/near");
  EXPECT_EQ(curve.last(), 3u);
  EXPECT_EQ(curve.points(3).pairs(), 3u);
  EXPECT_EQ(curve.points(9).pairs(), 2u);
}

TEST_F(AblationComparisonTest, AMeanOverSetsIsThereOnceEverySetIs) {
  Make(kTwoArms);
  Report("a", 1, "val_loss/near", 200, 4);
  EXPECT_EQ(ValLoss("a").points(1).n(), 0u);
  Report("a", 1, "val_loss/far", 200, 8);
  EXPECT_EQ(ValLoss("a").points(1).mean(), 6);
}

TEST_F(AblationComparisonTest, TheFileChoosesTheSetsThatDecide) {
  Make(kTwoArms, "[1]", "  compare: {sets: [far]}\n");
  Report("a", 1, "val_loss/near", 1000, 4);
  Report("a", 1, "val_loss/far", 1000, 8);
  const v1::AblationComparison comparison = Compare(Of());
  EXPECT_EQ(CurveOfArm(comparison, "a", "val_loss").points(9).mean(), 8);
  EXPECT_EQ(CurveOfArm(comparison, "a", "val_loss/near").points(9).mean(), 4) << "shown, though";
}

TEST_F(AblationComparisonTest, WhatIsNoNumberHasNoPart) {
  Make(kTwoArms);
  Final("a", {5, 6, 7});
  Final("b", {5, kNone, std::numeric_limits<double>::infinity()});
  EXPECT_EQ(ValLoss("b").points(9).n(), 1u);
  EXPECT_EQ(ValLoss("b").points(9).mean(), 5);
  EXPECT_EQ(ValLoss("b").verdict(), v1::VERDICT_TOO_FEW);
}

TEST_F(AblationComparisonTest, LossIsTheMeanOfAHundredthAndValidationsTheLastOne) {
  Make(kTwoArms, "[1]", "", "10k");  // ten steps a hundredth
  for (uint64_t tokens = 10; tokens <= 1000; tokens += 10)
    Report("a", 1, "loss", tokens, tokens <= 900 ? 100 : tokens <= 950 ? 2 : 4);
  Report("a", 1, "val_loss/near", 600, 7);
  Report("a", 1, "val_loss/near", 800, 6);
  const v1::AblationComparison comparison = Compare(Of({"loss", "val_loss/near"}));
  EXPECT_EQ(CurveOfArm(comparison, "a", "loss").points(0).mean(), 3);
  EXPECT_EQ(CurveOfArm(comparison, "a", "val_loss/near").points(0).mean(), 6);
  EXPECT_EQ(CurveOfArm(comparison, "a", "val_loss/near").points(1).n(), 0u);
}

TEST_F(AblationComparisonTest, HowSoonTheArmWasWhereTheBaselineEnds) {
  Make(kTwoArms);
  for (uint64_t tokens = 100; tokens <= 1000; tokens += 100) {
    const double share = static_cast<double>(tokens) / 1000;
    Report("a", 1, "val_loss/near", tokens, 6 - share);
    Report("b", 1, "val_loss/near", tokens, 6 - 1.6 * share);  // 5 at 625 tokens
  }
  const v1::ArmCurve curve = CurveOfArm(Compare(Of({"val_loss/near"})), "b", "val_loss/near");
  EXPECT_EQ(curve.tokens_to_baseline(), 625u);
  EXPECT_NEAR(curve.speed_up(), 1.6, 1e-9);
}

TEST_F(AblationComparisonTest, AWorseArmIsNeverThere) {
  Make(kTwoArms);
  Final("a", {5, 6});
  Final("b", {6, 7});
  EXPECT_EQ(ValLoss("b").tokens_to_baseline(), 0u);
  EXPECT_EQ(ValLoss("b").speed_up(), 0);
}

TEST_F(AblationComparisonTest, AShortRunIsComparedAtItsEnd) {
  Make(kTwoArms, "[1]", "", "635");  // 64 steps: fewer than hundredths
  Report("a", 1, "val_loss/near", 640, 5);
  const v1::AblationComparison comparison = Compare(Of({"val_loss/near"}));
  EXPECT_THAT(comparison.tokens(), ElementsAre(70, 130, 200, 260, 320, 390, 450, 510, 580, 640));
  EXPECT_EQ(CurveOfArm(comparison, "a", "val_loss/near").points(9).mean(), 5);
  EXPECT_THAT(Compare(Of({"val_loss/near"}, 100)).tokens(), SizeIs(64));
}

TEST_F(AblationComparisonTest, ArmsWithLongerStepsAreComparedAtTheSameShares) {
  Make("[{name: a, set: {train.globalBatch: 1}}, {name: b, set: {train.globalBatch: 7}}]", "[1]");
  for (uint64_t tokens = 10; tokens <= 1000; tokens += 10) Report("a", 1, "loss", tokens, static_cast<double>(tokens));
  for (uint64_t tokens = 70; tokens <= 1050; tokens += 70) Report("b", 1, "loss", tokens, static_cast<double>(tokens));
  const v1::AblationComparison comparison = Compare(Of({"loss"}));
  const v1::ArmCurve a = CurveOfArm(comparison, "a", "loss"), b = CurveOfArm(comparison, "b", "loss");
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(a.points(i).mean(), 100 * (i + 1));
    EXPECT_EQ(b.points(i).mean(), (100 * (i + 1) + 69) / 70 * 70) << "the end of the step that has the share";
  }
}

TEST_F(AblationComparisonTest, ArmsAreSummedUp) {
  Make(kTwoArms, "[1, 2]");
  Report("b", 1, "tokens_per_second", 400, 100);
  Report("b", 2, "tokens_per_second", 600, 300);
  jobs_["b-s1"].set_state(v1::JOB_STATE_FAILED);
  jobs_["b-s1"].set_finished_ms(1);
  jobs_["b-s2"].set_state(v1::JOB_STATE_CANCELLED);
  jobs_["b-s2"].set_finished_ms(1);
  ablation_.mutable_runs(3)->set_stopped("it was hopeless");
  const v1::AblationComparison comparison = Compare(Of());
  ASSERT_THAT(comparison.arms(), SizeIs(2));
  const v1::ArmSummary& arm = comparison.arms(1);
  EXPECT_EQ(arm.name(), "b");
  EXPECT_EQ(arm.activation(), "polynorm");
  const v1::ModelSpec& model = jobs_["b-s1"].file().spec().model();
  const ModelShape shape = ComputeShape(model, 10);
  EXPECT_EQ(arm.parameters(), shape.total);
  EXPECT_EQ(arm.active_parameters(), shape.active);
  EXPECT_EQ(arm.flops_per_token(), shape.flops_per_token);
  EXPECT_EQ(arm.ffn(), FfnWidth(model));
  EXPECT_EQ(arm.runs(), 2u);
  EXPECT_EQ(arm.ended(), 2u);
  EXPECT_EQ(arm.failed(), 1u);
  EXPECT_EQ(arm.stopped(), 1u);
  EXPECT_EQ(arm.tokens(), 1000u);
  EXPECT_EQ(arm.tokens_per_second(), 200);
  EXPECT_EQ(comparison.arms(0).tokens_per_second(), 0);
}

TEST_F(AblationComparisonTest, OnlyFieldsThatDifferAreShown) {
  Make(
      "[{name: a, set: {model.activation.kind: relu}}, {name: b, set: {model.activation.kind: polynorm, train.learningRate: "
      "0.002}}]");
  std::vector<std::string> paths;
  const v1::AblationComparison comparison = Compare(Of());
  for (const v1::ConfigDifference& difference : comparison.differences()) paths.push_back(difference.path());
  ASSERT_THAT(paths, ElementsAre("model.activation.kind", "train.learningRate"));
  EXPECT_THAT(comparison.differences(0).values(), ElementsAre("relu", "polynorm"));
  EXPECT_THAT(comparison.differences(1).values(), ElementsAre("0.001", "0.002"));
}

TEST_F(AblationComparisonTest, MatchedArmsDifferInWidth) {
  Make("[{name: a, set: {model.activation.kind: swiglu}}, {name: b, set: {model.activation.kind: relu}}]", "[1]",
       "  match: parameters\n");
  const v1::AblationComparison comparison = Compare(Of());
  EXPECT_EQ(comparison.arms(1).ffn(), 12u) << "half as much again as the gated baseline's 8";
  EXPECT_EQ(comparison.differences(0).path(), "model.ffn");
}

TEST_F(AblationComparisonTest, NothingYetIsNoError) {
  Make(kTwoArms);
  const v1::AblationComparison comparison = Compare(Of());
  EXPECT_THAT(comparison.curves(), SizeIs(14));
  for (const v1::ArmCurve& curve : comparison.curves()) {
    EXPECT_EQ(curve.points(0).n(), 0u);
    EXPECT_EQ(curve.speed_up(), 0);
    EXPECT_EQ(curve.verdict(), curve.arm() == "a" ? v1::VERDICT_BASELINE : v1::VERDICT_TOO_FEW);
  }
}

TEST_F(AblationComparisonTest, RunsAreShownOnRequest) {
  Make(kTwoArms, "[7, 8]");
  Report("b", 8, "val_loss/near", 300, 5);
  v1::CompareAblationRequest request = Of({"val_loss/near"});
  EXPECT_THAT(Compare(request).runs(), IsEmpty());
  request.set_runs(true);
  const v1::AblationComparison comparison = Compare(request);
  ASSERT_THAT(comparison.runs(), SizeIs(4));
  const v1::RunCurve& run = comparison.runs(3);
  EXPECT_EQ(run.job(), "b-s8");
  EXPECT_EQ(run.arm(), "b");
  EXPECT_EQ(run.seed(), 8u);
  EXPECT_EQ(run.metric(), "val_loss/near");
  ASSERT_THAT(run.values(), SizeIs(10));
  EXPECT_TRUE(std::isnan(run.values(1)));
  EXPECT_EQ(run.values(2), 5);
}

TEST_F(AblationComparisonTest, ErrorsSayWhatWouldBeRight) {
  Make(kTwoArms);
  v1::CompareAblationRequest other = Of();
  other.set_ablation("nothing");
  EXPECT_EQ(Try(other).status().code(), absl::StatusCode::kNotFound);
  for (const uint32_t grid : {7u, 200u}) {
    const absl::Status status = Try(Of({}, grid)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("write a divisor of 100"));
  }
  const absl::Status status = Try(Of({"val_los"})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("there are val_loss, "));
}

class CompareAblationServiceTest : public ServiceTest {};

TEST_F(CompareAblationServiceTest, OverTheWire) {
  WorkerSession worker(channel_);
  worker.Register(Registration("a", 1, "i"));
  TestContext submit, compare;
  v1::SubmitAblationResponse submitted;
  ASSERT_TRUE(ablations_->Submit(&submit, AblationRequest("r", AblationOf()), &submitted).ok());
  for (int run = 0; run < 4; ++run) {
    const v1::Launch launch = worker.NextLaunch();
    const v1::RankRef rank = Ref(launch.job(), launch.attempt(), 0);
    worker.Report(Started(rank));
    v1::Report report = Points(rank, 100, 3 + run);
    (*report.mutable_points()->mutable_values())["val_loss/v"] = run;
    worker.Report(report);
    worker.Report(Exited(rank, 0));
  }
  Settle();
  v1::CompareAblationRequest request;
  request.set_ablation("study");
  v1::AblationComparison comparison;
  const grpc::Status status = metrics_->CompareAblation(&compare, request, &comparison);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_THAT(comparison.arms(), SizeIs(2));
  EXPECT_EQ(comparison.arms(0).ended(), 2u);
  ASSERT_GT(comparison.curves_size(), 1);
  EXPECT_EQ(comparison.curves(1).arm(), "b");
  EXPECT_EQ(comparison.curves(1).metric(), "val_loss");
  EXPECT_EQ(comparison.curves(1).points().rbegin()->n(), 2u);
  EXPECT_EQ(comparison.curves(1).points().rbegin()->difference(), 1) << "runs start seed by seed";
}

}  // namespace
}  // namespace polymoe
