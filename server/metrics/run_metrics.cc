#include "server/metrics/run_metrics.h"

#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "polymoe/v1/job.pb.h"
#include "polymoe/v1/metric.pb.h"

namespace polymoe {
namespace {

using GaugeFamily = prometheus::Family<prometheus::Gauge>;
using Labels = std::map<std::string, std::string>;

// One exported metric of a trainer: its name there, its family here, and what the parts of the trainer's name behind the first '/'
// mean. A label with a fixed value distinguishes siblings of one family.
struct Export {
  const char* name;
  const char* family;
  const char* help;
  std::vector<const char*> part_labels;
  std::pair<const char*, const char*> fixed = {"", ""};
};

const std::vector<Export>& Exports() {
  static const auto& exports = *new std::vector<Export>{
      {"loss", "polymoe_train_loss", "Mean cross entropy of the newest step, nats per token.", {}},
      {"load_balance_loss",
       "polymoe_train_loss_component",
       "Unweighted router losses of the newest step.",
       {},
       {"component", "load_balance"}},
      {"z_loss", "polymoe_train_loss_component", "Unweighted router losses of the newest step.", {}, {"component", "z"}},
      {"grad_norm", "polymoe_train_grad_norm", "Global gradient norm before clipping.", {}},
      {"learning_rate", "polymoe_train_learning_rate", "Learning rate of the newest step.", {}},
      {"tokens_per_second", "polymoe_train_tokens_per_second", "Training throughput.", {}},
      {"flops_per_second",
       "polymoe_train_flops_per_second",
       "Model FLOPs (6 x active parameters + causal attention) per second.",
       {}},
      {"step_seconds", "polymoe_train_step_duration_seconds", "Duration of the newest step.", {}},
      {"skipped_steps", "polymoe_train_skipped_steps", "Steps skipped because of a loss or gradient that was not finite.", {}},
      {"val_loss", "polymoe_val_loss", "Mean cross entropy on a validation set, nats per token.", {"set"}},
      {"val_bpb", "polymoe_val_bpb", "Validation loss in bits per byte of text, independent of the tokenizer.", {"set"}},
      {"router_max_over_mean",
       "polymoe_expert_load_max_over_mean",
       "Load of the fullest expert over the mean; 1 is balanced.",
       {"layer"}},
      {"router_entropy", "polymoe_router_entropy_nats", "Mean entropy of the router's distribution over experts.", {"layer"}},
      {"rank_seconds", "polymoe_rank_step_seconds", "Seconds that a rank computed in the newest step.", {"rank"}},
      {"rank_wait_seconds", "polymoe_rank_wait_seconds", "Seconds that a rank waited for others in the newest step.", {"rank"}},
      {"coef",
       "polymoe_polycom_coefficient",
       "PolyCom coefficients of a layer: w1 is the linear term's weight.",
       {"layer", "term"}},
  };
  return exports;
}

std::string StateLabel(v1::JobState state) {
  return absl::AsciiStrToLower(absl::string_view(v1::JobState_Name(state)).substr(sizeof("JOB_STATE_") - 1));
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

bool IsFinal(v1::JobState state) {
  return state >= v1::JOB_STATE_SUCCEEDED;
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
    for (const Export& e : Exports()) by_name[e.name] = {&e, Add(e.family, e.help)};
  }

  GaugeFamily *info, *state, *steps, *tokens, *tokens_target, *last_step, *attempts, *checkpoint, *straggler;
  std::map<std::string, std::pair<const Export*, GaugeFamily*>> by_name;

 private:
  GaugeFamily* Add(const char* name, const char* help) {
    // Register answers with the family that already has this name.
    return &prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
  }
  prometheus::Registry& registry_;
};

// The series of one run; they go with it.
class RunMetrics::Run {
 public:
  explicit Run(std::string id) : id_(std::move(id)) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() {
    for (const auto& [key, series] : series_) series.first->Remove(series.second);
  }

  void Set(GaugeFamily* family, Labels labels, double value) {
    std::string key = absl::StrCat(reinterpret_cast<uintptr_t>(family));
    for (const auto& [name, text] : labels) absl::StrAppend(&key, "\n", text);
    auto& series = series_[key];
    if (series.second == nullptr) {
      labels["run"] = id_;
      series = {family, &family->Add(labels)};
    }
    series.second->Set(value);
  }

  // An attempt may have fewer ranks than the one before it.
  void ForgetRanksOfOlderAttempts(const Families& families, int attempts) {
    if (std::exchange(attempts_, attempts) == attempts) return;
    std::erase_if(series_, [&](const auto& entry) {
      const auto& [family, gauge] = entry.second;
      const bool of_ranks = family == families.straggler || family == families.by_name.at("rank_seconds").second ||
                            family == families.by_name.at("rank_wait_seconds").second;
      if (of_ranks) family->Remove(gauge);
      return of_ranks;
    });
  }

  bool ended = false;

 private:
  std::string id_;
  int attempts_ = 0;
  std::map<std::string, std::pair<GaugeFamily*, prometheus::Gauge*>> series_;
};

RunMetrics::RunMetrics(prometheus::Registry& registry, size_t ended_runs_kept)
    : families_(std::make_unique<Families>(registry)), ended_runs_kept_(ended_runs_kept) {}

RunMetrics::~RunMetrics() = default;

void RunMetrics::OnJob(const v1::Job& job) {
  const std::lock_guard lock(mutex_);
  auto& run = runs_[job.id()];
  if (run == nullptr) {
    run = std::make_unique<Run>(job.id());
    const v1::JobSpec& spec = job.file().spec();
    const std::string kind = absl::AsciiStrToLower(
        absl::string_view(v1::ActivationKind_Name(spec.model().activation().kind())).substr(sizeof("ACTIVATION_KIND_") - 1));
    run->Set(families_->info,
             {{"name", job.file().metadata().name()},
              {"activation", kind},
              {"seed", absl::StrCat(spec.train().seed())},
              {"dataset", spec.data().train()}},
             1);
  }
  for (int s = v1::JOB_STATE_PENDING; s <= v1::JOB_STATE_CANCELLED; ++s) {
    run->Set(families_->state, {{"state", StateLabel(static_cast<v1::JobState>(s))}}, job.state() == s ? 1 : 0);
  }
  run->Set(families_->attempts, {}, job.attempts_size());
  run->ForgetRanksOfOlderAttempts(*families_, job.attempts_size());
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
  for (const auto& [name, value] : points.values()) {
    const std::vector<std::string> parts = absl::StrSplit(name, '/');
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
