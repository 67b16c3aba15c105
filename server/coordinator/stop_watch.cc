#include "server/coordinator/stop_watch.h"

#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/log.h"
#include "common/spec/ablation.h"
#include "common/spec/names.h"
#include "common/status.h"
#include "server/coordinator/coordinator.h"
#include "server/curves/job_points.h"
#include "server/query/stop_rules.h"

namespace polymoe {
namespace {

// The ablation of a job if its rules may still stop a run.
const v1::Ablation* WatchedBy(const View& view, const v1::Job& job) {
  const auto it = view.ablations.find(job.ablation().id());
  return it == view.ablations.end() || IsFinal(it->second->state()) ? nullptr : it->second.get();
}

bool MayBeStopped(const v1::Job& job) {
  return !IsFinal(job.state()) && !job.cancel_requested();
}

int StartedAttempts(const v1::Job& job) {
  int started = 0;
  for (const v1::Attempt& attempt : job.attempts()) started += attempt.started_ranks_size() > 0;
  return started;
}

absl::StatusOr<std::map<uint64_t, double>> ReadValidations(Store& store, const v1::Ablation& ablation, const v1::Job& job) {
  std::vector<std::string> names = DecidingSets(ablation.file().spec());
  for (std::string& name : names) name.insert(0, "val_loss/");
  POLYMOE_ASSIGN_OR_RETURN(SeriesByName series, ReadJobPoints(store, job, names));
  std::vector<std::vector<Point>> sets;
  for (const std::string& name : names) sets.push_back(std::move(series[name]));
  return ValidationMeans(sets);
}

}  // namespace

StopWatch::StopWatch(Coordinator& coordinator) : coordinator_(coordinator), thread_([this] { Loop(); }) {}

StopWatch::~StopWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  filled_.notify_all();
  thread_.join();
}

void StopWatch::ShowAll(const View& view) {
  News news;
  for (const auto& [id, job] : view.jobs) {
    const v1::Ablation* ablation = WatchedBy(view, *job);
    if (ablation == nullptr || !MayBeStopped(*job)) continue;
    if (ablation->file().spec().stop().has_diverged_nats()) news.losses.insert(id);
    if (ablation->file().spec().stop().has_hopeless_nats()) news.validations.emplace(ablation->id(), job->ablation().seed());
  }
  Wake(std::move(news));
}

void StopWatch::OnCommit(const Committed& committed) {
  News news;
  for (const PointRow& row : committed.points) {
    const bool is_loss = row.name == "loss";
    if (!is_loss && !absl::StartsWith(row.name, "val_loss/")) continue;
    const auto job = committed.view->jobs.find(row.job);
    if (job == committed.view->jobs.end()) continue;
    const v1::Ablation* ablation = WatchedBy(*committed.view, *job->second);
    if (ablation == nullptr) continue;
    const v1::AblationSpec& spec = ablation->file().spec();
    if (!is_loss && spec.stop().has_hopeless_nats()) news.validations.emplace(ablation->id(), job->second->ablation().seed());
    if (!is_loss || !spec.stop().has_diverged_nats() || !MayBeStopped(*job->second)) continue;
    // Not equal rather than more: an attempt that resumed goes over the same ones again.
    uint64_t& seen = hundredths_[row.job];
    const uint64_t hundredth =
        row.point.tokens >= spec.budget().tokens() ? 101 : HundredthOf(row.point.tokens, spec.budget().tokens());
    if (hundredth != seen) news.losses.insert(row.job);
    seen = hundredth;
  }
  for (const auto& job : committed.jobs) {
    if (IsFinal(job->state())) hundredths_.erase(job->id());
  }
  if (!news.empty()) Wake(std::move(news));
}

void StopWatch::Wake(News news) {
  {
    const std::lock_guard lock(mutex_);
    news_.losses.merge(news.losses);
    news_.validations.merge(news.validations);
  }
  filled_.notify_all();
}

void StopWatch::Loop() {
  while (true) {
    News news;
    {
      std::unique_lock lock(mutex_);
      filled_.wait(lock, [this] { return stopping_ || !news_.empty(); });
      if (stopping_) return;
      news = std::exchange(news_, {});
    }
    absl::Status status;
    for (const std::string& job : news.losses) status.Update(LookAtLoss(job));
    for (const auto& [ablation, seed] : news.validations) status.Update(LookAtValidations(ablation, seed));
    if (!status.ok()) LogWarning("stop rules: the store was not read", {{"error", std::string(status.message())}});
  }
}

absl::Status StopWatch::LookAtLoss(const std::string& id) {
  const std::shared_ptr<const View> view = coordinator_.view();
  const v1::Job& job = *view->jobs.at(id);
  const v1::Ablation* ablation = WatchedBy(*view, job);
  if (ablation == nullptr || !MayBeStopped(job)) return absl::OkStatus();
  const v1::AblationSpec& spec = ablation->file().spec();
  POLYMOE_ASSIGN_OR_RETURN(const SeriesByName series, ReadJobPoints(coordinator_.store(), job, {"loss"}));
  const auto loss = series.find("loss");
  if (loss == series.end()) return absl::OkStatus();
  const auto why = FindDiverged(loss->second, spec.stop().diverged_nats(), spec.budget().tokens());
  if (why && IsCurrent(job)) coordinator_.StopRun(id, *why);
  return absl::OkStatus();
}

absl::Status StopWatch::LookAtValidations(const std::string& id, uint64_t seed) {
  const std::shared_ptr<const View> view = coordinator_.view();
  const v1::Ablation& ablation = *view->ablations.at(id);
  const v1::AblationSpec& spec = ablation.file().spec();
  const v1::Job* baseline_job = nullptr;
  std::map<uint64_t, double> baseline;
  for (const v1::AblationRun& run : ablation.runs()) {
    if (run.seed() != seed || run.arm() != spec.baseline()) continue;
    baseline_job = view->jobs.at(run.job()).get();
    POLYMOE_ASSIGN_OR_RETURN(baseline, ReadValidations(coordinator_.store(), ablation, *baseline_job));
  }
  for (const v1::AblationRun& run : ablation.runs()) {
    const v1::Job& job = *view->jobs.at(run.job());
    if (run.seed() != seed || run.arm() == spec.baseline() || !MayBeStopped(job)) continue;
    POLYMOE_ASSIGN_OR_RETURN(const auto own, ReadValidations(coordinator_.store(), ablation, job));
    const auto why = FindHopeless(own, baseline, spec.stop().hopeless_nats(), spec.stop().hopeless_after_tokens());
    if (why && IsCurrent(job) && IsCurrent(*baseline_job)) coordinator_.StopRun(job.id(), *why);
  }
  return absl::OkStatus();
}

bool StopWatch::IsCurrent(const v1::Job& job) const {
  return StartedAttempts(*coordinator_.view()->jobs.at(job.id())) == StartedAttempts(job);
}

}  // namespace polymoe
