#include "server/metrics/ablation_collector.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job.pb.h"

#include "common/spec/names.h"

namespace polymoe {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

std::map<v1::JobState, int> RunsByState(const v1::Ablation& ablation, const View& view) {
  std::map<v1::JobState, int> runs;
  for (const v1::AblationRun& run : ablation.runs()) {
    if (const auto job = view.jobs.find(run.job()); job != view.jobs.end()) ++runs[job->second->state()];
  }
  return runs;
}

// A last step may end past the target of its run.
double ProgressRatio(const v1::Ablation& ablation, const View& view) {
  const v1::AblationProgress progress = ProgressOf(ablation, view);
  if (progress.tokens_target() == 0) return progress.ended() == progress.runs() ? 1 : 0;
  return std::min(1.0, static_cast<double>(progress.tokens()) / static_cast<double>(progress.tokens_target()));
}

prometheus::MetricFamily Gauge(const char* name, const char* help) {
  return {name, help, prometheus::MetricType::Gauge, {}};
}

void Add(prometheus::MetricFamily& family, Labels labels, double value) {
  prometheus::ClientMetric& sample = family.metric.emplace_back();
  sample.label = std::move(labels);
  sample.gauge.value = value;
}

}  // namespace

std::vector<prometheus::MetricFamily> AblationCollector::FamiliesOf(const View& view) const {
  prometheus::MetricFamily info = Gauge("polymoe_ablation_info", "Always 1; the ablation's name.");
  prometheus::MetricFamily state = Gauge("polymoe_ablation_state", "1 for the state that the ablation is in, 0 for the others.");
  prometheus::MetricFamily runs = Gauge("polymoe_ablation_runs", "Runs of the ablation by state.");
  prometheus::MetricFamily progress = Gauge(
      "polymoe_ablation_progress_ratio", "Tokens that the runs have trained over those they are to train; 1 when all have ended.");
  std::vector<const v1::Ablation*> ablations;
  for (const auto& [id, ablation] : view.ablations) ablations.push_back(ablation.get());
  for (const v1::Ablation* ablation : LastEnded(std::move(ablations), ended_kept_)) {
    const std::string& id = ablation->id();
    Add(info, {{"ablation", id}, {"name", ablation->file().metadata().name()}}, 1);
    for (int s = v1::ABLATION_STATE_ACTIVE; s <= v1::ABLATION_STATE_CANCELLED; ++s) {
      const std::string label = StateName(static_cast<v1::AblationState>(s));
      Add(state, {{"ablation", id}, {"state", label}}, ablation->state() == s ? 1 : 0);
    }
    std::map<v1::JobState, int> by_state = RunsByState(*ablation, view);
    for (int s = v1::JOB_STATE_PENDING; s <= v1::JOB_STATE_CANCELLED; ++s) {
      const auto job_state = static_cast<v1::JobState>(s);
      Add(runs, {{"ablation", id}, {"state", StateName(job_state)}}, by_state[job_state]);
    }
    Add(progress, {{"ablation", id}}, ProgressRatio(*ablation, view));
  }
  if (info.metric.empty()) return {};
  return {std::move(info), std::move(state), std::move(runs), std::move(progress)};
}

}  // namespace polymoe
