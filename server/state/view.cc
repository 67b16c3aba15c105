#include "server/state/view.h"

#include "absl/strings/str_cat.h"

#include "common/spec/names.h"

namespace polymoe {
namespace {

// By id, else the newest of that name.
template <class T>
std::shared_ptr<const T> FindIn(const std::map<std::string, std::shared_ptr<const T>>& all, const std::string& id_or_name) {
  if (const auto it = all.find(id_or_name); it != all.end()) return it->second;
  std::shared_ptr<const T> newest;
  for (const auto& [id, one] : all) {
    if (one->file().metadata().name() == id_or_name && (newest == nullptr || one->created_ms() >= newest->created_ms()))
      newest = one;
  }
  return newest;
}

}  // namespace

absl::Status NoSuchJob(const std::string& id_or_name) {
  return absl::NotFoundError(absl::StrCat("there is no job '", id_or_name, "'; `polyctl ls` lists them"));
}

absl::Status NoSuchAblation(const std::string& id_or_name) {
  return absl::NotFoundError(absl::StrCat("there is no ablation '", id_or_name, "'; `polyctl ablation ls` lists them"));
}

int64_t WaitingSince(const v1::Job& job) {
  return job.attempts().empty() ? job.created_ms() : job.attempts().rbegin()->ended_ms();
}

absl::StatusOr<std::shared_ptr<const v1::Job>> View::Find(const std::string& id_or_name) const {
  std::shared_ptr<const v1::Job> job = FindIn(jobs, id_or_name);
  if (job == nullptr) return NoSuchJob(id_or_name);
  return job;
}

absl::StatusOr<std::shared_ptr<const v1::Ablation>> View::FindAblation(const std::string& id_or_name) const {
  std::shared_ptr<const v1::Ablation> ablation = FindIn(ablations, id_or_name);
  if (ablation == nullptr) return NoSuchAblation(id_or_name);
  return ablation;
}

v1::AblationProgress ProgressOf(const v1::Ablation& ablation, const View& view) {
  v1::AblationProgress progress;
  progress.set_runs(ablation.runs_size());
  for (const v1::AblationRun& run : ablation.runs()) {
    const auto it = view.jobs.find(run.job());
    if (it == view.jobs.end()) continue;
    const v1::Job& job = *it->second;
    const bool final = IsFinal(job.state());
    progress.set_ended(progress.ended() + (final ? 1 : 0));
    progress.set_tokens(progress.tokens() + job.progress().tokens());
    progress.set_tokens_target(progress.tokens_target() + (final ? job.progress().tokens() : job.progress().tokens_target()));
    if (job.state() != v1::JOB_STATE_STARTING && job.state() != v1::JOB_STATE_RUNNING) continue;
    progress.set_running(progress.running() + 1);
    if (job.state() == v1::JOB_STATE_RUNNING)
      progress.set_tokens_per_second(progress.tokens_per_second() + job.progress().tokens_per_second());
  }
  return progress;
}

}  // namespace polymoe
