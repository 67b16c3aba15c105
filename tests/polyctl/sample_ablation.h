// An ablation as a coordinator would give it, with its comparison: 6 arms, 3 seeds, 40 milestones, two validation sets. The figures are
// made up, from a fixed seed; the statistics are those of the figures.
#ifndef POLYMOE_TESTS_POLYCTL_SAMPLE_ABLATION_H_
#define POLYMOE_TESTS_POLYCTL_SAMPLE_ABLATION_H_

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/metric.pb.h"

#include "common/check.h"
#include "common/spec/yaml_read.h"
#include "tests/polyctl/sample_jobs.h"

namespace polymoe::polyctl {

struct SampleArm {
  const char* name;
  const char* activation;
  double offset;  // of its loss at the end
};
inline constexpr SampleArm kSampleArms[] = {
    {"relu", "relu", 0},          {"relu2", "relu2", 0.004},          {"gelu", "gelu", -0.009},
    {"swiglu", "swiglu", -0.026}, {"polyrelu", "polyrelu(3)", 0.041}, {"polynorm", "polynorm(3)", -0.047}};
inline constexpr int kSampleSeeds = 3, kSampleMilestones = 40;
inline constexpr uint64_t kSampleTokens = 4'000'000;

inline constexpr char kAblationFile[] = R"(apiVersion: polymoe/v1
kind: Ablation
metadata: {name: activations, labels: {study: activations}}
spec:
  base:
    model: {layers: 2, hidden: 64, heads: 2, ffn: 96, experts: 4, topK: 2, vocab: 257, activation: {kind: relu}}
    data: {train: /data/corpus, sequenceLength: 32}
    validation: {sets: [{name: code, path: /data/code}, {name: wiki, path: /data/wiki}]}
  arms:
    - {name: relu, set: {model.activation.kind: relu}}
    - {name: relu2, set: {model.activation.kind: relu2}}
    - {name: gelu, set: {model.activation.kind: gelu}}
    - {name: swiglu, set: {model.activation.kind: swiglu}}
    - {name: polyrelu, set: {model.activation.kind: polyrelu}}
    - {name: polynorm, set: {model.activation.kind: polynorm}}
  baseline: relu
  seeds: [1, 2, 3]
  budget: {tokens: 4M, parallelSlots: 2}
)";

inline std::string SampleRun(const SampleArm& arm, int seed) {
  return absl::StrCat("activations-", arm.name, "-s", seed, "-0a1b2c3d");
}

// Where the runs of the first seed have ended, one of the second trains and the rest waits; all have ended when `done`.
inline v1::Ablation SampleAblation(int64_t now_ms, bool done) {
  v1::Ablation ablation;
  SourceMap places;
  const absl::Status read = YamlToMessage(kAblationFile, "study.yaml", ablation.mutable_file(), &places);
  POLYMOE_CHECK(read.ok(), "%s", read.ToString().c_str());
  ablation.set_id("activations-4d5e6f7g");
  ablation.set_state(done ? v1::ABLATION_STATE_SUCCEEDED : v1::ABLATION_STATE_ACTIVE);
  ablation.set_created_ms(now_ms - 7'200'000);
  if (done) ablation.set_finished_ms(now_ms - 60'000);
  ablation.set_revision(7);
  for (int seed = 1; seed <= kSampleSeeds; ++seed) {
    for (const SampleArm& arm : kSampleArms) {
      v1::AblationRun& run = *ablation.add_runs();
      run.set_arm(arm.name);
      run.set_seed(seed);
      run.set_job(SampleRun(arm, seed));
      if (done && seed == 3 && std::string(arm.name) == "polyrelu")
        run.set_stopped("val_loss is 0.31 above relu's at 2M tokens, hopelessNats is 0.3");
    }
  }
  v1::AblationProgress& progress = *ablation.mutable_progress();
  progress.set_runs(18);
  progress.set_ended(done ? 18 : 6);
  progress.set_running(done ? 0 : 2);
  progress.set_tokens_target(18 * kSampleTokens);
  progress.set_tokens(done ? 18 * kSampleTokens : 6 * kSampleTokens + 2 * 1'800'000);
  progress.set_tokens_per_second(done ? 0 : 24'000);
  return ablation;
}

inline std::map<std::string, v1::Job> SampleAblationJobs(int64_t now_ms, bool done) {
  std::map<std::string, v1::Job> jobs;
  int number = 0;
  for (int seed = 1; seed <= kSampleSeeds; ++seed) {
    for (const SampleArm& arm : kSampleArms) {
      const bool ended = done || number < 6, runs = !ended && number < 8;
      v1::Job job = SampleJob(SampleRun(arm, seed),
                              ended  ? v1::JOB_STATE_SUCCEEDED
                              : runs ? v1::JOB_STATE_RUNNING
                                     : v1::JOB_STATE_PENDING,
                              now_ms);
      job.mutable_progress()->set_tokens_target(kSampleTokens);
      job.mutable_progress()->set_tokens(ended ? kSampleTokens : runs ? 1'800'000 : 0);
      job.mutable_progress()->set_step(ended ? 8000 : runs ? 3600 : 0);
      if (!ended && !runs) {
        job.set_held(number > 8);
        job.mutable_waiting()->set_reason(number > 8 ? v1::WAIT_REASON_HELD : v1::WAIT_REASON_SLOTS_BUSY);
        job.mutable_waiting()->set_detail(number > 8 ? "the ablation may hold 2 slots" : "needs 1 slot, 2 of 2 are busy");
      }
      job.mutable_ablation()->set_id("activations-4d5e6f7g");
      job.mutable_ablation()->set_name("activations");
      job.mutable_ablation()->set_arm(arm.name);
      job.mutable_ablation()->set_seed(seed);
      jobs[job.id()] = job;
      ++number;
    }
  }
  return jobs;
}

// By arm, seed and milestone.
using SampleValues = std::vector<std::vector<std::vector<double>>>;

inline SampleValues MakeSampleValues(double level, double noise, std::mt19937_64& random) {
  const auto next = [&] { return static_cast<double>(random() >> 11) / 9007199254740992.0 * 2 - 1; };
  SampleValues values;
  std::vector<double> of_seed;
  for (int seed = 0; seed < kSampleSeeds; ++seed) of_seed.push_back(0.012 * next());
  for (const SampleArm& arm : kSampleArms) {
    auto& runs = values.emplace_back();
    for (int seed = 0; seed < kSampleSeeds; ++seed) {
      auto& run = runs.emplace_back();
      const double of_run = 0.006 * next();
      for (int i = 1; i <= kSampleMilestones; ++i) {
        const double share = static_cast<double>(i) / kSampleMilestones;
        run.push_back(level + 2.4 * std::pow(i, -0.55) + arm.offset * std::min(1.0, 2 * share) + of_seed[seed] + of_run +
                      noise * next());
      }
    }
  }
  return values;
}

inline void AddSampleCurves(const std::string& metric, const SampleValues& values, v1::AblationComparison& comparison) {
  for (size_t arm = 0; arm < values.size(); ++arm) {
    v1::ArmCurve& curve = *comparison.add_curves();
    curve.set_arm(kSampleArms[arm].name);
    curve.set_metric(metric);
    curve.set_last(kSampleMilestones - 1);
    for (int i = 0; i < kSampleMilestones; ++i) {
      std::vector<double> own, differences;
      for (int seed = 0; seed < kSampleSeeds; ++seed) {
        own.push_back(values[arm][seed][i]);
        differences.push_back(values[arm][seed][i] - values[0][seed][i]);
      }
      const auto mean = [](const std::vector<double>& all) {
        double sum = 0;
        for (const double value : all) sum += value;
        return sum / static_cast<double>(all.size());
      };
      const auto deviation = [&](const std::vector<double>& all) {
        double sum = 0;
        for (const double value : all) sum += (value - mean(all)) * (value - mean(all));
        return std::sqrt(sum / static_cast<double>(all.size() - 1));
      };
      v1::ArmPoint& point = *curve.add_points();
      point.set_tokens(comparison.tokens(i));
      point.set_n(kSampleSeeds);
      point.set_mean(mean(own));
      point.set_sd(deviation(own));
      point.set_min(*std::min_element(own.begin(), own.end()));
      point.set_max(*std::max_element(own.begin(), own.end()));
      point.set_pairs(kSampleSeeds);
      point.set_difference(mean(differences));
      const double half = 4.303 * deviation(differences) / std::sqrt(3.0);  // Student's t of two degrees of freedom
      point.set_low(point.difference() - half);
      point.set_high(point.difference() + half);
    }
    const v1::ArmPoint& end = curve.points(kSampleMilestones - 1);
    const double target =
        comparison.curves(comparison.curves_size() - 1 - static_cast<int>(arm)).points(kSampleMilestones - 1).mean();
    curve.set_verdict(arm == 0         ? v1::VERDICT_BASELINE
                      : end.high() < 0 ? v1::VERDICT_BETTER
                      : end.low() > 0  ? v1::VERDICT_WORSE
                                       : v1::VERDICT_NO_DIFFERENCE);
    curve.set_p_value(arm == 0 ? 1 : end.high() < 0 || end.low() > 0 ? 0.01 : 0.4);
    for (const v1::ArmPoint& point : curve.points()) {
      if (arm == 0 || point.mean() > target) continue;
      curve.set_tokens_to_baseline(point.tokens());
      curve.set_speed_up(static_cast<double>(kSampleTokens) / static_cast<double>(point.tokens()));
      break;
    }
    for (int seed = 0; seed < kSampleSeeds; ++seed) {
      v1::RunCurve& run = *comparison.add_runs();
      run.set_job(SampleRun(kSampleArms[arm], seed + 1));
      run.set_arm(kSampleArms[arm].name);
      run.set_seed(seed + 1);
      run.set_metric(metric);
      for (const double value : values[arm][seed]) run.add_values(value);
    }
  }
}

inline v1::AblationComparison SampleComparison() {
  v1::AblationComparison comparison;
  comparison.set_ablation("activations-4d5e6f7g");
  comparison.set_name("activations");
  comparison.set_baseline("relu");
  for (int i = 1; i <= kSampleMilestones; ++i) comparison.add_tokens(kSampleTokens * i / kSampleMilestones);
  std::mt19937_64 random(7);
  const SampleValues code = MakeSampleValues(2.05, 0.002, random), wiki = MakeSampleValues(2.61, 0.002, random);
  SampleValues mean = code, bits = code;
  for (size_t arm = 0; arm < mean.size(); ++arm) {
    for (int seed = 0; seed < kSampleSeeds; ++seed) {
      for (int i = 0; i < kSampleMilestones; ++i) {
        mean[arm][seed][i] = (code[arm][seed][i] + wiki[arm][seed][i]) / 2;
        bits[arm][seed][i] = mean[arm][seed][i] / (3.6 * std::log(2.0));
      }
    }
  }
  const std::vector<std::pair<std::string, SampleValues>> metrics = {{"val_loss", mean},
                                                                     {"loss", MakeSampleValues(2.28, 0.012, random)},
                                                                     {"val_loss/code", code},
                                                                     {"val_loss/wiki", wiki},
                                                                     {"val_bpb", bits}};
  for (const auto& [name, values] : metrics) {
    comparison.add_metrics(name);
    AddSampleCurves(name, values, comparison);
  }
  v1::ConfigDifference& kind = *comparison.add_differences();
  kind.set_path("model.activation.kind");
  v1::ConfigDifference& ffn = *comparison.add_differences();
  ffn.set_path("model.ffn");
  for (const SampleArm& arm : kSampleArms) {
    const bool gated = std::string(arm.name) == "swiglu";
    kind.add_values(arm.name);
    ffn.add_values(gated ? "64" : "96");
    v1::ArmSummary& summary = *comparison.add_arms();
    summary.set_name(arm.name);
    summary.set_activation(arm.activation);
    summary.set_parameters(gated ? 165'120 : 165'248);
    summary.set_active_parameters(115'968);
    summary.set_flops_per_token(7.2e5);
    summary.set_ffn(gated ? 64 : 96);
    summary.set_runs(3);
    summary.set_ended(3);
    summary.set_tokens_per_second(12'400 + 100.0 * (arm.offset < 0));
    summary.set_tokens(3 * kSampleTokens);
  }
  return comparison;
}

}  // namespace polymoe::polyctl

#endif  // POLYMOE_TESTS_POLYCTL_SAMPLE_ABLATION_H_
