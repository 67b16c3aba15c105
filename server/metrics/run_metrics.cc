#include "server/metrics/run_metrics.h"

#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "polymoe/v1/job.pb.h"
#include "polymoe/v1/metric.pb.h"

#include "common/spec/names.h"
#include "common/version.h"
#include "server/metrics/point_exports.h"
#include "server/metrics/run_series.h"

namespace polymoe {
namespace {

using GaugeFamily = prometheus::Family<prometheus::Gauge>;
using HistogramFamily = prometheus::Family<prometheus::Histogram>;
using Labels = std::map<std::string, std::string>;
using Bounds = prometheus::Histogram::BucketBoundaries;

// Same for all runs and for ever, so that histograms add up.
const Bounds& StepSecondsBounds() {
  static const auto& bounds = *new Bounds{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
  return bounds;
}
const Bounds& LoadRatioBounds() {
  static const auto& bounds = *new Bounds{0.01, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 10};
  return bounds;
}

// 0 when the points say nothing of ranks.
double StragglerRatio(const v1::StepPoints& points) {
  double most = 0, sum = 0;
  int ranks = 0;
  for (const auto& [name, seconds] : points.values()) {
    if (!absl::StartsWith(name, "rank_seconds/")) continue;
    most = std::max(most, seconds);
    sum += seconds;
    ++ranks;
  }
  return sum > 0 ? most * ranks / sum : 0;
}

// Shares of the rows, by layer and then by expert, when the points say them.
std::map<std::string, std::vector<double>> ExpertLoads(const v1::StepPoints& points) {
  std::map<std::string, std::vector<double>> loads;
  for (const auto& [name, share] : points.values()) {
    const std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
    if (parts[0] == "router_load" && parts.size() == 3) loads[std::string(parts[1])].push_back(share);
  }
  return loads;
}

}  // namespace

// All families, made once.
class RunMetrics::Families {
 public:
  explicit Families(prometheus::Registry& registry) : registry_(registry) {
    info = Add("polymoe_run_info", "Always 1; what a run is.");
    state = Add("polymoe_run_state", "1 for the state that the run is in, 0 for the others.");
    steps = Add("polymoe_train_steps", "Optimiser steps done.");
    tokens = Add("polymoe_train_tokens", "Training tokens consumed.");
    tokens_target = Add("polymoe_train_tokens_target", "Training tokens that the job asks for.");
    last_step = Add("polymoe_train_last_step_timestamp_seconds", "Unix time of the newest step.");
    attempts = Add("polymoe_run_attempts", "Launches of the run so far.");
    checkpoint = Add("polymoe_checkpoint_last_success_timestamp_seconds", "Unix time of the newest committed checkpoint.");
    straggler = Add("polymoe_straggler_ratio",
                    "Compute seconds of the slowest rank over the mean of all, in the newest step; 1 is balanced.");
    for (const PointExport& e : PointExports()) by_name[e.name] = {&e, Add(e.family, e.help)};
    step_seconds = &prometheus::BuildHistogram()
                        .Name("polymoe_train_step_seconds")
                        .Help("Durations of the reported steps.")
                        .Register(registry);
    load_ratio = &prometheus::BuildHistogram()
                      .Name("polymoe_expert_load_ratio")
                      .Help("Load of every expert over the mean of its layer, in each router report.")
                      .Register(registry);
  }

  GaugeFamily *info, *state, *steps, *tokens, *tokens_target, *last_step, *attempts, *checkpoint, *straggler;
  HistogramFamily *step_seconds, *load_ratio;
  std::map<std::string, std::pair<const PointExport*, GaugeFamily*>> by_name;

 private:
  GaugeFamily* Add(const char* name, const char* help) {
    // Register answers with the family that already has this name.
    return &prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
  }
  prometheus::Registry& registry_;
};

class RunMetrics::Run {
 public:
  Run(const std::string& id, bool per_expert) : per_expert(per_expert), gauges_(id), histograms_(id) {}

  void Set(GaugeFamily* family, Labels labels, double value) { gauges_.Get(family, std::move(labels)).Set(value); }

  // Each step counts once in an attempt, however often its points arrive.
  void ObserveStep(const Families& families, const v1::StepPoints& points) {
    if (points.step() <= observed_step_) return;
    observed_step_ = points.step();
    const auto seconds = points.values().find("step_seconds");
    if (seconds != points.values().end()) {
      histograms_.Get(families.step_seconds, {}, StepSecondsBounds()).Observe(seconds->second);
    }
    for (const auto& [layer, shares] : ExpertLoads(points)) {
      prometheus::Histogram& ratios = histograms_.Get(families.load_ratio, {{"layer", layer}}, LoadRatioBounds());
      for (const double share : shares) ratios.Observe(share * static_cast<double>(shares.size()));
    }
  }

  // A new attempt may have fewer ranks than the one before it, and starts at an earlier step.
  void SetAttempts(const Families& families, int attempts) {
    Set(families.attempts, {}, attempts);
    if (std::exchange(attempts_, attempts) == attempts) return;
    observed_step_ = 0;
    gauges_.RemoveIf([&](const GaugeFamily* family) {
      return family == families.straggler || family == families.by_name.at("rank_seconds").second ||
             family == families.by_name.at("rank_wait_seconds").second;
    });
  }

  const bool per_expert;
  bool ended = false;

 private:
  int attempts_ = 0;
  uint64_t observed_step_ = 0;
  RunSeries<prometheus::Gauge> gauges_;
  RunSeries<prometheus::Histogram> histograms_;
};

RunMetrics::RunMetrics(prometheus::Registry& registry, size_t ended_runs_kept)
    : families_(std::make_unique<Families>(registry)), ended_runs_kept_(ended_runs_kept) {}

RunMetrics::~RunMetrics() = default;

void RunMetrics::OnJob(const v1::Job& job) {
  const std::lock_guard lock(mutex_);
  auto& run = runs_[job.id()];
  if (run == nullptr) {
    const v1::JobSpec& spec = job.file().spec();
    run = std::make_unique<Run>(job.id(), spec.metrics().per_expert());
    run->Set(families_->info,
             {{"name", job.file().metadata().name()},
              {"activation", ActivationKindName(job)},
              {"seed", absl::StrCat(spec.train().seed())},
              {"dataset", spec.data().train()},
              {"model", EnumName(v1::Architecture_Name(spec.model().architecture()), "ARCHITECTURE_")},
              {"ablation", job.ablation().id()},
              {"arm", job.ablation().arm()},
              {"version", kVersion}},
             1);
  }
  for (int s = v1::JOB_STATE_PENDING; s <= v1::JOB_STATE_CANCELLED; ++s) {
    run->Set(families_->state, {{"state", StateName(static_cast<v1::JobState>(s))}}, job.state() == s ? 1 : 0);
  }
  run->SetAttempts(*families_, job.attempts_size());
  run->Set(families_->tokens_target, {}, static_cast<double>(job.file().spec().train().tokens()));
  if (job.has_checkpoint()) run->Set(families_->checkpoint, {}, static_cast<double>(job.checkpoint().committed_ms()) / 1000.0);
  if (!IsFinal(job.state()) || run->ended) return;
  run->ended = true;
  ended_.push_back(job.id());
  if (ended_.size() > ended_runs_kept_) {
    runs_.erase(ended_.front());
    ended_.pop_front();
  }
}

void RunMetrics::OnPoints(const std::string& job, const v1::StepPoints& points) {
  const std::lock_guard lock(mutex_);
  const auto it = runs_.find(job);
  if (it == runs_.end()) return;  // ended long ago
  Run& run = *it->second;
  run.Set(families_->steps, {}, static_cast<double>(points.step()));
  run.Set(families_->tokens, {}, static_cast<double>(points.tokens()));
  run.Set(families_->last_step, {}, static_cast<double>(points.time_ms()) / 1000.0);
  if (const double ratio = StragglerRatio(points); ratio > 0) run.Set(families_->straggler, {}, ratio);
  run.ObserveStep(*families_, points);
  for (const auto& [name, value] : points.values()) {
    const std::vector<std::string> parts = absl::StrSplit(name, '/');
    if (parts[0] == "router_load" && !run.per_expert) continue;
    const auto family = families_->by_name.find(parts[0]);
    if (family == families_->by_name.end()) continue;
    const auto& [spec, gauges] = family->second;
    if (parts.size() != spec->part_labels.size() + 1) continue;  // coefficients of single experts stay in the store
    Labels labels;
    for (size_t i = 0; i < spec->part_labels.size(); ++i) labels[spec->part_labels[i]] = parts[i + 1];
    if (*spec->fixed.first != '\0') labels[spec->fixed.first] = spec->fixed.second;
    run.Set(gauges, std::move(labels), value);
  }
}

}  // namespace polymoe
