// Submitting, cancelling, workers coming and going, and the tick. What happens to attempts is in attempts.cc.
#include "server/state/cluster.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"

#include "common/check.h"
#include "common/spec/names.h"
#include "common/spec/ranks.h"
#include "common/status.h"
#include "server/state/view.h"

namespace polymoe {
namespace {

v1::WaitReason ToReason(WaitKind kind) {
  switch (kind) {
    case WaitKind::kNoWorkers:
      return v1::WAIT_REASON_NO_WORKERS;
    case WaitKind::kClusterTooSmall:
      return v1::WAIT_REASON_CLUSTER_TOO_SMALL;
    case WaitKind::kSlotsBusy:
      return v1::WAIT_REASON_SLOTS_BUSY;
    case WaitKind::kBehindOtherJob:
      return v1::WAIT_REASON_BEHIND_OTHER_JOB;
    case WaitKind::kBackoff:
      return v1::WAIT_REASON_BACKOFF;
  }
  return v1::WAIT_REASON_UNSPECIFIED;
}

}  // namespace

void Cluster::Restore(v1::Job job, const std::string& request_id, int64_t now_ms) {
  if (const v1::Attempt* attempt = Live(job); attempt != nullptr) {
    for (const v1::Placement& placement : attempt->placements()) {
      workers_[placement.worker()].instance = placement.instance();
      workers_[placement.worker()].last_seen_ms = now_ms;
    }
  }
  by_request_[request_id] = job.id();
  request_ids_[job.id()] = request_id;
  const std::string id = job.id();
  jobs_[id] = std::move(job);
}

absl::StatusOr<v1::SubmitResponse> Cluster::Submit(const v1::SubmitRequest& request, const std::string& id, int64_t now_ms) {
  v1::SubmitResponse response;
  if (const auto known = by_request_.find(request.request_id()); known != by_request_.end()) {
    const v1::Job& job = jobs_.at(known->second);
    if (!google::protobuf::util::MessageDifferencer::Equals(job.file(), request.file())) {
      return absl::AlreadyExistsError(absl::StrCat("request id ", request.request_id(), " was used for job ", job.id(),
                                                   " with another job file; use a new request id"));
    }
    *response.mutable_job() = job;
    response.set_existed(true);
    return response;
  }
  *response.mutable_job() = AddJob(id, request.file(), request.request_id(), now_ms);
  return response;
}

v1::Job& Cluster::AddJob(const std::string& id, const v1::JobFile& file, const std::string& request_id, int64_t now_ms) {
  POLYMOE_CHECK(!jobs_.contains(id), "two jobs of id %s", id.c_str());
  v1::Job& job = jobs_[id];
  job.set_id(id);
  *job.mutable_file() = file;
  job.set_state(v1::JOB_STATE_PENDING);
  job.mutable_waiting()->set_reason(v1::WAIT_REASON_NOT_YET_SCHEDULED);
  job.mutable_waiting()->set_detail("submitted, not yet considered");
  job.mutable_progress()->set_tokens_target(file.spec().train().tokens());
  job.set_created_ms(now_ms);
  by_request_[request_id] = id;
  request_ids_[id] = request_id;
  Changed(job);
  return job;
}

absl::StatusOr<v1::Job> Cluster::Cancel(const std::string& id, int64_t now_ms) {
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return NoSuchJob(id);
  v1::Job& job = it->second;
  if (IsFinal(job.state()) || job.cancel_requested()) return job;
  job.set_cancel_requested(true);
  Changed(job);
  if (v1::Attempt* attempt = Live(job); attempt != nullptr) {
    StopAttempt(job, *attempt, v1::END_REASON_CANCELLED, "");
  } else {
    Finish(job, v1::JOB_STATE_CANCELLED, WhyCancelled(job), now_ms);
  }
  return job;
}

void Cluster::Register(const v1::Register& message, int64_t now_ms) {
  // Not sent yet, and meant for an older stream: on this one a launch could start a rank that is counted as lost below.
  std::erase_if(effects_.messages, [&](const auto& entry) { return entry.first == message.worker(); });
  WorkerState& worker = workers_[message.worker()];
  // Draining lasts until the daemon is started anew, however often its stream breaks.
  if (worker.instance != message.instance()) worker.draining = false;
  worker.instance = message.instance();
  worker.host = message.host();
  worker.version = message.version();
  std::map<uint32_t, v1::Slot> slots;  // each index once, ascending
  for (const v1::Slot& slot : message.slots()) slots.emplace(slot.index(), slot);
  worker.slots.clear();
  for (const auto& [index, slot] : slots) worker.slots.push_back(slot);
  worker.connected = true;
  worker.stream_broke = false;
  worker.last_seen_ms = now_ms;
  // Ranks that an earlier start of this daemon ran went with it.
  LoseRanks(message.worker(), absl::StrCat("worker ", message.worker(), " was restarted"), now_ms,
            [&](const v1::Attempt&, const v1::Placement& placement) { return placement.instance() == message.instance(); });
  v1::CoordinatorMessage answer;
  v1::Registered& registered = *answer.mutable_registered();
  registered.set_lease_ms(config_.lease_ms);
  registered.set_heartbeat_ms(config_.heartbeat_ms);
  Send(message.worker(), std::move(answer));
  if (worker.draining) SendDrain(message.worker());
  StopRanksThatAreOver(message);
  SettleMissingRanks(message, now_ms);
}

void Cluster::Disconnect(const std::string& worker) {
  // Its ranks go on until the lease runs out, for it may come back; unless their attempt is broken.
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return;
  it->second.connected = false;
  it->second.stream_broke = true;
}

void Cluster::Heartbeat(const std::string& worker, uint64_t sequence, int64_t now_ms) {
  workers_.at(worker).last_seen_ms = now_ms;
  v1::CoordinatorMessage answer;
  answer.mutable_heartbeat_ack()->set_sequence(sequence);
  Send(worker, std::move(answer));
}

void Cluster::SetDraining(const std::string& worker) {
  workers_.at(worker).draining = true;
}

absl::Status Cluster::Drain(const std::string& worker) {
  const auto it = workers_.find(worker);
  if (it == workers_.end())
    return absl::NotFoundError(absl::StrCat("there is no worker '", worker, "'; `polyctl workers ls` lists them"));
  it->second.draining = true;
  SendDrain(worker);
  return absl::OkStatus();
}

void Cluster::SendDrain(const std::string& worker) {
  v1::CoordinatorMessage message;
  message.mutable_drain();
  Send(worker, std::move(message));
}

void Cluster::Tick(int64_t now_ms) {
  for (auto it = workers_.begin(); it != workers_.end();) {
    if (now_ms - it->second.last_seen_ms < config_.lease_ms) {
      ++it;
      continue;
    }
    const std::string name = it->first;
    LoseRanks(name, absl::StrCat("worker ", name, " was silent for ", config_.lease_ms, " ms"), now_ms,
              [](const v1::Attempt&, const v1::Placement&) { return false; });
    it = workers_.erase(it);
  }
  LoseUnreachableRanks(now_ms);
  for (auto& [id, job] : jobs_) {
    v1::Attempt* attempt = Live(job);
    if (attempt != nullptr && job.state() == v1::JOB_STATE_STARTING && !attempt->stopping() &&
        now_ms - attempt->started_ms() >= config_.start_timeout_ms) {
      StopAttempt(job, *attempt, v1::END_REASON_START_TIMEOUT,
                  absl::StrCat("only ", attempt->started_ranks_size(), " of ", attempt->placements_size(), " ranks came up within ",
                               config_.start_timeout_ms / 1000, " s"));
    }
  }
  TickAblations(now_ms);
  const Plan plan = Schedule(SchedulerView(), config_.scheduler, now_ms);
  for (const Start& start : plan.starts) Launch(jobs_.at(start.job), start, now_ms);
  ShowWaits(plan.waits);
  GrowJobs(plan.waits);
}

void Cluster::ShowWaits(const std::vector<Wait>& waits) {
  for (const Wait& wait : waits) {
    v1::Job& job = jobs_.at(wait.job);
    // The countdown of a backoff alone is no news: its end is in until_ms.
    if (job.waiting().reason() == ToReason(wait.kind) && (wait.kind == WaitKind::kBackoff || job.waiting().detail() == wait.detail))
      continue;
    job.mutable_waiting()->set_reason(ToReason(wait.kind));
    job.mutable_waiting()->set_detail(wait.detail);
    if (wait.kind != WaitKind::kBackoff) job.mutable_waiting()->clear_until_ms();
    Changed(job);
  }
}

SchedulerInput Cluster::SchedulerView() const {
  SchedulerInput input;
  for (const auto& [id, job] : jobs_) {
    if (job.state() != v1::JOB_STATE_PENDING || job.held()) continue;
    input.jobs.push_back({id, RankChoices(job.file().spec()), WaitingSince(job), job.waiting().until_ms()});
  }
  // Runs of an ablation are of the same time and come in their order.
  const auto age = [&](const WaitingJob& waiting) {
    const auto place = run_places_.find(waiting.id);
    return std::make_tuple(jobs_.at(waiting.id).created_ms(), place == run_places_.end() ? 0 : place->second, waiting.id);
  };
  std::sort(input.jobs.begin(), input.jobs.end(), [&](const WaitingJob& a, const WaitingJob& b) { return age(a) < age(b); });
  for (const auto& [name, worker] : workers_) {
    if (!worker.connected || worker.draining) continue;
    OpenWorker open{.name = name, .slots = static_cast<uint32_t>(worker.slots.size())};
    const std::set<uint32_t> busy = BusySlots(name);
    for (const v1::Slot& slot : worker.slots) {
      if (!busy.contains(slot.index())) open.free_slots.push_back(slot.index());
    }
    input.workers.push_back(std::move(open));
  }
  return input;
}

bool Cluster::MayGrow(const v1::Job& job) const {
  const v1::JobSpec& spec = job.file().spec();
  return job.state() == v1::JOB_STATE_RUNNING && !job.attempts().rbegin()->stopping() && IsElastic(spec) &&
         job.checkpoint().tokens() < spec.train().tokens();
}

void Cluster::GrowJobs(const std::vector<Wait>& waits) {
  const std::set<std::string> saved = std::exchange(saved_, {});
  if (saved.empty()) return;
  // A job that runs can do without; one that waits has nothing. One that no worker could ever hold is none of them.
  for (const Wait& wait : waits) {
    if (wait.kind != WaitKind::kClusterTooSmall) return;
  }
  for (auto& [id, job] : jobs_) {
    const v1::Attempt* attempt = Live(job);
    if (attempt != nullptr && attempt->end_reason() == v1::END_REASON_RESIZED) return;  // what is free now is for that one
  }
  uint32_t free = 0;
  for (const OpenWorker& worker : SchedulerView().workers) free += worker.free_slots.size();
  for (const std::string& id : saved) {
    v1::Job& job = jobs_.at(id);
    if (!MayGrow(job)) continue;
    v1::Attempt& attempt = *Live(job);
    const auto ranks = static_cast<uint32_t>(attempt.placements_size());
    const uint32_t most = MostRanks(job.file().spec(), ranks + free);
    if (most <= ranks) continue;
    StopAttempt(job, attempt, v1::END_REASON_RESIZED, absl::StrCat("goes on with ", most, " ranks instead of ", ranks));
    return;
  }
}

std::set<uint32_t> Cluster::BusySlots(const std::string& worker) const {
  std::set<uint32_t> busy;
  for (const auto& [id, job] : jobs_) {
    if (job.attempts().empty() || job.attempts().rbegin()->ended_ms() != 0) continue;
    const v1::Attempt& attempt = *job.attempts().rbegin();
    for (const v1::Placement& placement : attempt.placements()) {
      const auto& ended = attempt.ended_ranks();
      if (placement.worker() == worker && std::find(ended.begin(), ended.end(), placement.rank()) == ended.end())
        busy.insert(placement.slot());
    }
  }
  if (const auto it = workers_.find(worker); it != workers_.end()) {
    for (const auto& [rank, slot] : it->second.zombies) busy.insert(slot);
  }
  return busy;
}

void Cluster::Changed(v1::Job& job) {
  if (effects_.jobs.insert(job.id()).second) job.set_revision(job.revision() + 1);
}

void Cluster::Send(const std::string& worker, v1::CoordinatorMessage message) {
  effects_.messages.emplace_back(worker, std::move(message));
}

}  // namespace polymoe
