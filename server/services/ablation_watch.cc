#include "server/services/ablation_watch.h"

#include "common/spec/names.h"

namespace polymoe {

void AblationWatch::ShowAll(const View& view) {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const v1::Job>> jobs;
  for (const v1::AblationRun& run : view.ablations.at(id_)->runs()) jobs.push_back(view.jobs.at(run.job()));
  Show(view, jobs);
}

void AblationWatch::OnCommit(const Committed& committed) {
  {
    const std::lock_guard lock(mutex_);
    if (shown_ablation_ > 0) return Show(*committed.view, committed.jobs);
  }
  ShowAll(*committed.view);  // it came before the caller's, which is older then
}

void AblationWatch::Show(const View& view, const std::vector<std::shared_ptr<const v1::Job>>& jobs) {
  const v1::Ablation& ablation = *view.ablations.at(id_);
  if (ablation.revision() < shown_ablation_) return;  // a view from before what was shown
  v1::WatchAblationResponse response;
  for (const auto& job : jobs) {
    if (job->ablation().id() != id_) continue;
    uint64_t& shown = shown_jobs_[job->id()];
    if (job->revision() <= shown) continue;
    shown = job->revision();
    *response.add_jobs() = *job;
  }
  if (response.jobs().empty() && ablation.revision() == shown_ablation_) return;
  shown_ablation_ = ablation.revision();
  *response.mutable_ablation() = WithProgress(ablation, view);
  Push(std::move(response));
  if (IsFinal(ablation.state())) End(grpc::Status::OK);
}

}  // namespace polymoe
