// Ablations: one object and the jobs of its runs, changed together. Runs are held until their turn comes; everything else about them is
// the life of any job.
#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"

#include "common/check.h"
#include "common/spec/ablation.h"
#include "common/spec/names.h"
#include "common/status.h"
#include "server/state/cluster.h"
#include "server/state/view.h"

namespace polymoe {
namespace {

using ::google::protobuf::util::MessageDifferencer;

// The file as it was submitted: arms that came later stand behind its own.
bool WasSubmittedAs(const v1::AblationFile& kept, const v1::AblationFile& file) {
  v1::AblationFile submitted = kept;
  while (submitted.spec().arms_size() > file.spec().arms_size()) submitted.mutable_spec()->mutable_arms()->RemoveLast();
  return MessageDifferencer::Equals(submitted, file);
}

absl::Status IsOver(const v1::Ablation& ablation, const char* what) {
  return absl::FailedPreconditionError(absl::StrCat("ablation ", ablation.id(), " cannot be ", what, ": it ",
                                                    IsFinal(ablation.state()) ? "is over" : "is being cancelled"));
}

}  // namespace

absl::Status Cluster::RestoreAblation(v1::Ablation ablation, const std::string& request_id) {
  for (int i = 0; i < ablation.runs_size(); ++i) {
    if (!jobs_.contains(ablation.runs(i).job()))
      return absl::DataLossError(
          absl::StrCat("store: job ", ablation.runs(i).job(), " of ablation ", ablation.id(), " is missing"));
    run_places_[ablation.runs(i).job()] = i;
  }
  const std::string id = ablation.id();
  ablation_by_request_[request_id] = id;
  ablation_request_ids_[id] = request_id;
  ablations_[id] = std::move(ablation);
  return absl::OkStatus();
}

absl::StatusOr<v1::Ablation*> Cluster::FindAblation(const std::string& id) {
  const auto it = ablations_.find(id);
  if (it == ablations_.end()) return NoSuchAblation(id);
  return &it->second;
}

const v1::AblationRun* Cluster::RunOf(const v1::Job& job) const {
  return job.has_ablation() ? &ablations_.at(job.ablation().id()).runs(static_cast<int>(run_places_.at(job.id()))) : nullptr;
}

absl::StatusOr<v1::SubmitAblationResponse> Cluster::SubmitAblation(const v1::SubmitAblationRequest& request, const NewId& new_id,
                                                                   int64_t now_ms) {
  v1::SubmitAblationResponse response;
  if (const auto known = ablation_by_request_.find(request.request_id()); known != ablation_by_request_.end()) {
    const v1::Ablation& ablation = ablations_.at(known->second);
    if (!WasSubmittedAs(ablation.file(), request.file())) {
      return absl::AlreadyExistsError(absl::StrCat("request id ", request.request_id(), " was used for ablation ", ablation.id(),
                                                   " with another file; use a new request id"));
    }
    *response.mutable_ablation() = ablation;
    response.set_existed(true);
    return response;
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<PlannedRun> runs, PlanRuns(request.file()));
  const std::string id = new_id(request.file().metadata().name());
  POLYMOE_CHECK(!ablations_.contains(id), "two ablations of id %s", id.c_str());
  v1::Ablation& ablation = ablations_[id];
  ablation.set_id(id);
  *ablation.mutable_file() = request.file();
  ablation.set_state(v1::ABLATION_STATE_ACTIVE);
  ablation.set_created_ms(now_ms);
  ablation_by_request_[request.request_id()] = id;
  ablation_request_ids_[id] = request.request_id();
  for (const PlannedRun& run : runs) AddRun(ablation, run, new_id, now_ms);
  Changed(ablation);
  *response.mutable_ablation() = ablation;
  return response;
}

void Cluster::AddRun(v1::Ablation& ablation, const PlannedRun& planned, const NewId& new_id, int64_t now_ms) {
  const std::string id = new_id(planned.job.metadata().name());
  run_places_[id] = ablation.runs_size();
  v1::AblationRun& run = *ablation.add_runs();
  run.set_arm(planned.arm);
  run.set_seed(planned.seed);
  run.set_job(id);
  v1::Job& job = AddJob(id, planned.job, absl::StrCat("run ", id), now_ms);
  job.set_held(true);
  job.mutable_ablation()->set_id(ablation.id());
  job.mutable_ablation()->set_name(ablation.file().metadata().name());
  job.mutable_ablation()->set_arm(planned.arm);
  job.mutable_ablation()->set_seed(planned.seed);
}

absl::StatusOr<v1::Ablation> Cluster::PauseAblation(const std::string& id) {
  POLYMOE_ASSIGN_OR_RETURN(v1::Ablation * ablation, FindAblation(id));
  if (IsFinal(ablation->state()) || ablation->cancel_requested()) return IsOver(*ablation, "paused");
  if (ablation->state() == v1::ABLATION_STATE_PAUSED) return *ablation;
  ablation->set_state(v1::ABLATION_STATE_PAUSED);
  Changed(*ablation);
  for (const v1::AblationRun& run : ablation->runs()) {
    v1::Job& job = jobs_.at(run.job());
    if (IsFinal(job.state())) continue;
    job.set_held(true);
    Changed(job);
    if (v1::Attempt* attempt = Live(job); attempt != nullptr)
      StopAttempt(job, *attempt, v1::END_REASON_PAUSED, absl::StrCat("ablation ", id, " was paused"));
  }
  return *ablation;
}

absl::StatusOr<v1::Ablation> Cluster::ResumeAblation(const std::string& id) {
  POLYMOE_ASSIGN_OR_RETURN(v1::Ablation * ablation, FindAblation(id));
  if (IsFinal(ablation->state()) || ablation->cancel_requested()) return IsOver(*ablation, "resumed");
  if (ablation->state() == v1::ABLATION_STATE_ACTIVE) return *ablation;
  ablation->set_state(v1::ABLATION_STATE_ACTIVE);  // the next tick releases its runs
  Changed(*ablation);
  return *ablation;
}

absl::StatusOr<v1::Ablation> Cluster::CancelAblation(const std::string& id, int64_t now_ms) {
  POLYMOE_ASSIGN_OR_RETURN(v1::Ablation * ablation, FindAblation(id));
  if (IsFinal(ablation->state()) || ablation->cancel_requested()) return *ablation;
  ablation->set_cancel_requested(true);
  Changed(*ablation);
  for (const v1::AblationRun& run : ablation->runs()) POLYMOE_RETURN_IF_ERROR(Cancel(run.job(), now_ms).status());
  FinishIfOver(*ablation, now_ms);
  return *ablation;
}

absl::StatusOr<v1::Ablation> Cluster::AddArm(const v1::AddArmRequest& request, const NewId& new_id, int64_t now_ms) {
  POLYMOE_ASSIGN_OR_RETURN(v1::Ablation * ablation, FindAblation(request.ablation()));
  const v1::AblationSpec& spec = ablation->file().spec();
  for (const v1::Arm& arm : spec.arms()) {
    if (arm.name() != request.arm().name()) continue;
    if (MessageDifferencer::Equals(arm, request.arm())) return *ablation;
    return absl::AlreadyExistsError(
        absl::StrCat("ablation ", ablation->id(), " has another arm called ", arm.name(), "; give this one another name"));
  }
  if (ablation->cancel_requested()) return IsOver(*ablation, "given an arm");
  if (spec.arms().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the arms of ablation ", ablation->id(), " are its axes alone; submit another ablation for this one"));
  }
  v1::AblationFile file = ablation->file();
  *file.mutable_spec()->add_arms() = request.arm();
  POLYMOE_RETURN_IF_ERROR(CompleteAblationFile(&file));
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<PlannedRun> runs, PlanRuns(file));
  std::set<std::string> known;
  for (const v1::AblationRun& run : ablation->runs()) known.insert(run.arm());
  for (const PlannedRun& run : runs) {
    if (!known.contains(run.arm)) AddRun(*ablation, run, new_id, now_ms);
  }
  *ablation->mutable_file() = std::move(file);
  if (IsFinal(ablation->state())) ablation->set_state(v1::ABLATION_STATE_ACTIVE);
  ablation->set_finished_ms(0);
  Changed(*ablation);
  return *ablation;
}

void Cluster::StopRun(const std::string& id, const std::string& why, int64_t now_ms) {
  const auto job = jobs_.find(id);
  if (job == jobs_.end() || !job->second.has_ablation() || IsFinal(job->second.state()) || job->second.cancel_requested()) return;
  v1::Ablation& ablation = ablations_.at(job->second.ablation().id());
  ablation.mutable_runs(static_cast<int>(run_places_.at(id)))->set_stopped(why);
  Changed(ablation);
  POLYMOE_CHECK(Cancel(id, now_ms).ok(), "job %s is there", id.c_str());
}

std::string Cluster::WhyCancelled(const v1::Job& job) const {
  const v1::AblationRun* run = RunOf(job);
  return run == nullptr || run->stopped().empty() ? "cancelled by request"
                                                  : absl::StrCat("stopped by a rule of its ablation: ", run->stopped());
}

void Cluster::FinishIfOver(v1::Ablation& ablation, int64_t now_ms) {
  bool failed = false;
  for (const v1::AblationRun& run : ablation.runs()) {
    const v1::JobState state = jobs_.at(run.job()).state();
    if (!IsFinal(state)) return;
    failed |= state == v1::JOB_STATE_FAILED;
  }
  ablation.set_state(ablation.cancel_requested() ? v1::ABLATION_STATE_CANCELLED
                     : failed                    ? v1::ABLATION_STATE_FAILED
                                                 : v1::ABLATION_STATE_SUCCEEDED);
  ablation.set_finished_ms(now_ms);
  Changed(ablation);
}

void Cluster::TickAblations(int64_t now_ms) {
  for (auto& [id, ablation] : ablations_) {
    if (IsFinal(ablation.state())) continue;
    FinishIfOver(ablation, now_ms);
    if (ablation.state() == v1::ABLATION_STATE_ACTIVE) ReleaseRuns(ablation);
    ShowHeldRuns(ablation);
  }
}

void Cluster::ReleaseRuns(v1::Ablation& ablation) {
  const v1::AblationBudget& budget = ablation.file().spec().budget();
  const uint64_t limit = budget.has_parallel_slots() ? budget.parallel_slots() : std::numeric_limits<uint64_t>::max();
  uint64_t used = 0;
  std::vector<v1::Job*> held;
  for (const v1::AblationRun& run : ablation.runs()) {
    v1::Job& job = jobs_.at(run.job());
    if (IsFinal(job.state())) continue;
    if (job.held()) held.push_back(&job);
    // One that was paused may still be on its slots.
    if (!job.held() || Live(job) != nullptr) used += job.file().spec().resources().ranks();
  }
  for (v1::Job* job : held) {
    const uint32_t more = Live(*job) != nullptr ? 0 : job->file().spec().resources().ranks();
    if (used + more > limit) return;  // those behind it wait, too: pairs of a seed come early
    used += more;
    job->set_held(false);
    Changed(*job);
  }
}

void Cluster::ShowHeldRuns(const v1::Ablation& ablation) {
  const std::string detail =
      ablation.state() == v1::ABLATION_STATE_PAUSED
          ? absl::StrCat("ablation ", ablation.id(), " is paused; `polyctl ablation resume ", ablation.id(), "` lets it go on")
          : absl::StrCat("the ", ablation.file().spec().budget().parallel_slots(), " slots that ablation ", ablation.id(),
                         " may hold at a time (spec.budget.parallelSlots) are taken by its earlier runs");
  for (const v1::AblationRun& run : ablation.runs()) {
    v1::Job& job = jobs_.at(run.job());
    if (!job.held() || job.state() != v1::JOB_STATE_PENDING) continue;
    if (job.waiting().reason() == v1::WAIT_REASON_HELD && job.waiting().detail() == detail) continue;
    job.mutable_waiting()->set_reason(v1::WAIT_REASON_HELD);  // until_ms stays: a backoff is not cut short by a pause
    job.mutable_waiting()->set_detail(detail);
    Changed(job);
  }
}

void Cluster::Changed(v1::Ablation& ablation) {
  if (effects_.ablations.insert(ablation.id()).second) ablation.set_revision(ablation.revision() + 1);
}

}  // namespace polymoe
