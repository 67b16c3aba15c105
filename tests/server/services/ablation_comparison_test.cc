#include "server/services/ablation_comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/spec/ablation.h"
#include "tests/server/fake_store.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// 100 steps of 100 tokens; validation every tenth.
constexpr char kFile[] = R"(apiVersion: polymoe/v1
kind: Ablation
metadata: {name: study}
spec:
  base:
    model: {layers: 1, hidden: 8, heads: 1, ffn: 8, experts: 2, topK: 1, vocab: 257}
    data: {train: /d, sequenceLength: 10}
    train: {tokens: 10k, globalBatch: 10, microBatch: 10}
    validation: {everyTokens: 1k, sets: [{name: a, path: /a}, {name: b, path: /b}]}
  match: parameters
  arms:
  - {name: base, set: {model.activation.kind: swiglu}}
  - {name: good, set: {model.activation.kind: polynorm}}
  - {name: same, set: {model.activation.kind: relu, train.learningRate: 0.01}}
  seeds: [1, 2, 3, 4]
)";

// What a run of `arm` and `seed` measured of `metric` at `tokens`; NaN: nothing.
using Measured = std::function<double(const std::string& arm, uint64_t seed, const std::string& metric, uint64_t tokens)>;

class AblationComparisonTest : public ::testing::Test {
 protected:
  void Train(const std::string& text, const Measured& measured) {
    const auto file = ParseAblationFile(text, "study.yaml");
    POLYMOE_CHECK(file.ok(), "%s", file.status().ToString().c_str());
    auto ablation = std::make_shared<v1::Ablation>();
    ablation->set_id("study-1");
    *ablation->mutable_file() = *file;
    StoreBatch batch;
    const auto runs = PlanRuns(*file);
    POLYMOE_CHECK(runs.ok());
    for (const PlannedRun& run : *runs) {
      auto job = std::make_shared<v1::Job>();
      job->set_id(run.job.metadata().name());
      *job->mutable_file() = run.job;
      job->set_state(v1::JOB_STATE_SUCCEEDED);
      job->set_finished_ms(1);
      v1::Attempt& attempt = *job->add_attempts();
      attempt.set_number(1);
      attempt.add_started_ranks(0);
      for (uint64_t step = 1; step <= 100; ++step) {
        for (const char* metric : {"loss", "val_loss/a", "val_loss/b", "val_bpb/a", "val_bpb/b", "tokens_per_second"}) {
          if (absl::StartsWith(metric, "val_") && step % 10 != 0) continue;
          const double value = measured(run.arm, run.seed, metric, step * 100);
          if (std::isnan(value)) continue;
          batch.points.push_back(
              {job->id(), metric, {.attempt = 1, .step = step, .tokens = step * 100, .time_ms = 0, .value = value}});
          job->mutable_progress()->set_tokens(step * 100);
        }
      }
      v1::AblationRun& of = *ablation->add_runs();
      of.set_arm(run.arm);
      of.set_seed(run.seed);
      of.set_job(job->id());
      view_.jobs[job->id()] = job;
    }
    view_.ablations[ablation->id()] = ablation;
    POLYMOE_CHECK(store_.Commit(batch).ok());
  }

  v1::AblationComparison Compare(const std::vector<std::string>& metrics = {}, uint32_t grid = 0, bool runs = false) {
    v1::CompareAblationRequest request;
    request.set_ablation("study");
    request.set_grid(grid);
    request.set_runs(runs);
    for (const std::string& metric : metrics) request.add_metrics(metric);
    auto comparison = CompareAblation(book_, view_, request);
    POLYMOE_CHECK(comparison.ok(), "%s", comparison.status().ToString().c_str());
    return *std::move(comparison);
  }

  static v1::ArmCurve Curve(const v1::AblationComparison& comparison, const std::string& arm, const std::string& metric) {
    for (const v1::ArmCurve& curve : comparison.curves()) {
      if (curve.arm() == arm && curve.metric() == metric) return curve;
    }
    POLYMOE_CHECK(false, "no curve %s of %s", metric.c_str(), arm.c_str());
  }

  FakeStore store_;
  CurveBook book_{store_};
  View view_;
};

// Falls from 5 to 4; seeds differ by tenths, "same" is a little above the baseline with one seed and below it with the next.
double Typical(const std::string& arm, uint64_t seed, const std::string& metric, uint64_t tokens) {
  if (metric == "tokens_per_second") return 1000;
  const double wobble = arm == "base" ? 0 : seed % 2 == 0 ? 0.001 : -0.0012;
  return 5 - static_cast<double>(tokens) / 10'000 + 0.1 * static_cast<double>(seed) + wobble - (arm == "good" ? 0.2 : 0);
}

TEST_F(AblationComparisonTest, ARealDifferenceIsCalledBetterAndNoiseIsNot) {
  Train(kFile, Typical);
  const v1::AblationComparison comparison = Compare();
  EXPECT_THAT(comparison.metrics(),
              ElementsAre("val_loss", "val_loss/a", "val_loss/b", "val_bpb", "val_bpb/a", "val_bpb/b", "loss"));
  EXPECT_THAT(comparison.tokens(), ElementsAre(1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000));
  for (const std::string& metric : comparison.metrics()) {
    EXPECT_EQ(Curve(comparison, "base", metric).verdict(), v1::VERDICT_BASELINE) << metric;
    EXPECT_EQ(Curve(comparison, "good", metric).verdict(), v1::VERDICT_BETTER) << metric;
    EXPECT_EQ(Curve(comparison, "same", metric).verdict(), v1::VERDICT_NO_DIFFERENCE) << metric;
  }
  const v1::ArmCurve good = Curve(comparison, "good", "val_loss");
  const v1::ArmPoint& end = good.points(9);
  EXPECT_EQ(good.last(), 9u);
  EXPECT_EQ(end.n(), 4u);
  EXPECT_EQ(end.pairs(), 4u);
  EXPECT_NEAR(end.difference(), -0.2, 0.002);
  EXPECT_LT(end.low(), end.difference());
  EXPECT_LT(end.high(), 0);
  EXPECT_NEAR(end.sd(), 0.129, 0.002) << "of seeds 0.1 apart";
  // 0.2 lower on a line that falls by 1 in 10k tokens: there 2k tokens sooner.
  EXPECT_NEAR(static_cast<double>(good.tokens_to_baseline()), 8000, 30);
  EXPECT_NEAR(good.speed_up(), 1.25, 0.01);
}

TEST_F(AblationComparisonTest, TheMeanOverSetsIsOfThoseThatDecide) {
  const Measured measured = [](const std::string&, uint64_t, const std::string& metric, uint64_t) {
    return metric == "val_loss/a" ? 2.0 : 4.0;
  };
  Train(kFile, measured);
  EXPECT_EQ(Curve(Compare(), "good", "val_loss").points(9).mean(), 3);
  view_ = {};
  Train(absl::StrCat(kFile, "  compare: {sets: [a]}\n"), measured);
  EXPECT_EQ(Curve(Compare(), "good", "val_loss").points(9).mean(), 2);
}

TEST_F(AblationComparisonTest, RunsThatEndedEarlyCountAsFarAsTheyCame) {
  Train(kFile, [](const std::string& arm, uint64_t seed, const std::string& metric, uint64_t tokens) {
    return arm == "good" && seed >= 3 && tokens > 5000 ? std::nan("") : Typical(arm, seed, metric, tokens);
  });
  const v1::ArmCurve good = Curve(Compare(), "good", "val_loss");
  EXPECT_EQ(good.points(4).n(), 4u);
  EXPECT_EQ(good.points(9).n(), 2u);
  EXPECT_EQ(good.last(), 4u) << "the verdict is of the last milestone with all pairs";
  EXPECT_EQ(good.verdict(), v1::VERDICT_BETTER);
}

TEST_F(AblationComparisonTest, OneSeedSaysNothing) {
  Train(absl::StrCat(std::string(kFile).substr(0, std::string(kFile).find("  seeds")), "  seeds: [1]\n"), Typical);
  const v1::ArmCurve good = Curve(Compare(), "good", "val_loss");
  EXPECT_EQ(good.verdict(), v1::VERDICT_TOO_FEW);
  EXPECT_EQ(good.p_value(), 1);
  EXPECT_EQ(good.points(9).low(), good.points(9).high());
}

TEST_F(AblationComparisonTest, NothingYetIsNoError) {
  Train(kFile, [](const std::string&, uint64_t, const std::string&, uint64_t) { return std::nan(""); });
  const v1::AblationComparison comparison = Compare();
  for (const v1::ArmCurve& curve : comparison.curves()) {
    EXPECT_EQ(curve.points(0).n(), 0u);
    EXPECT_EQ(curve.speed_up(), 0);
    EXPECT_EQ(curve.verdict(), curve.arm() == "base" ? v1::VERDICT_BASELINE : v1::VERDICT_TOO_FEW);
  }
}

TEST_F(AblationComparisonTest, LossIsTheLastHundredthAndValidationTheLastOne) {
  Train(kFile, [](const std::string&, uint64_t, const std::string&, uint64_t tokens) { return static_cast<double>(tokens); });
  const v1::AblationComparison coarse = Compare({"loss", "val_loss/a"}, 4);
  EXPECT_THAT(coarse.tokens(), ElementsAre(2500, 5000, 7500, 10000));
  EXPECT_EQ(Curve(coarse, "base", "loss").points(0).mean(), 2500);
  EXPECT_EQ(Curve(coarse, "base", "val_loss/a").points(0).mean(), 2000) << "there was none at 2500";
  const v1::AblationComparison fine = Compare({"val_loss/a"}, 100);
  EXPECT_EQ(Curve(fine, "base", "val_loss/a").points(8).n(), 0u);
  EXPECT_EQ(Curve(fine, "base", "val_loss/a").points(9).mean(), 1000);
}

TEST_F(AblationComparisonTest, SaysWhatTheArmsAreAndHowTheyDiffer) {
  Train(kFile, Typical);
  const v1::AblationComparison comparison = Compare();
  ASSERT_EQ(comparison.arms_size(), 3);
  EXPECT_EQ(comparison.arms(1).activation(), "polynorm");
  EXPECT_EQ(comparison.arms(1).ffn(), 12u) << "half as much again as the gated baseline's 8";
  EXPECT_EQ(comparison.arms(1).runs(), 4u);
  EXPECT_EQ(comparison.arms(1).ended(), 4u);
  EXPECT_EQ(comparison.arms(1).tokens(), 40'000u);
  EXPECT_EQ(comparison.arms(1).tokens_per_second(), 1000);
  std::vector<std::string> paths;
  for (const v1::ConfigDifference& difference : comparison.differences()) paths.push_back(difference.path());
  EXPECT_THAT(paths, ElementsAre("model.ffn", "model.activation.kind", "train.learningRate"));
  EXPECT_THAT(comparison.differences(2).values(), ElementsAre("0.001", "0.001", "0.01"));
}

TEST_F(AblationComparisonTest, GivesEveryRunOnRequest) {
  Train(kFile, Typical);
  const v1::AblationComparison comparison = Compare({"loss"}, 10, true);
  ASSERT_EQ(comparison.runs_size(), 12);
  EXPECT_EQ(comparison.runs(5).arm(), "good");
  EXPECT_EQ(comparison.runs(5).seed(), 2u);
  EXPECT_DOUBLE_EQ(comparison.runs(5).values(9), Typical("good", 2, "loss", 10'000));
}

TEST_F(AblationComparisonTest, RefusesWhatIsNotThere) {
  Train(kFile, Typical);
  v1::CompareAblationRequest request;
  request.set_ablation("nope");
  EXPECT_EQ(CompareAblation(book_, view_, request).status().code(), absl::StatusCode::kNotFound);
  request.set_ablation("study-1");
  request.set_grid(7);
  EXPECT_THAT(CompareAblation(book_, view_, request).status().message(), HasSubstr("a divisor of 100"));
  request.set_grid(0);
  request.add_metrics("val_loss/c");
  EXPECT_THAT(CompareAblation(book_, view_, request).status().message(), HasSubstr("there are val_loss, val_loss/a"));
}

}  // namespace
}  // namespace polymoe
