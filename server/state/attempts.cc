// The life of an attempt: launched on slots that are all taken in one step, told to stop at its first failure, over when every rank is
// accounted for; then the job is done, tried again, or given up.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/trainer_exit.h"
#include "server/state/cluster.h"

namespace polymoe {
namespace {

constexpr double kLongestBackoffMs = 5 * 60 * 1000, kLongestFirstBackoffMs = 1000;
constexpr uint32_t kMostDoublings = 60;

template <class Ranks>
bool Contains(const Ranks& ranks, uint32_t rank) {
  return std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
}

const v1::Placement* PlacementOf(const v1::Attempt& attempt, uint32_t rank) {
  for (const v1::Placement& placement : attempt.placements()) {
    if (placement.rank() == rank) return &placement;
  }
  return nullptr;
}

std::string DescribeExit(const v1::RankExited& exited) {
  const v1::ExitInfo& exit = exited.exit();
  std::string text = absl::StrCat("rank ", exit.rank(), " on ", exit.worker(),
                                  exit.signal() != 0 ? absl::StrCat(" was killed by signal ", exit.signal())
                                                     : absl::StrCat(" exited with code ", exit.exit_code()));
  if (!exited.error().empty()) absl::StrAppend(&text, ": ", exited.error());
  return text;
}

std::string DescribeStop(const v1::RankExited& exited) {
  const v1::ExitInfo& exit = exited.exit();
  if (!exited.stopped()) return absl::StrCat("rank ", exit.rank(), " on ", exit.worker(), " stopped with its peers");
  return absl::StrCat("worker ", exit.worker(), " stopped its ranks", exited.error().empty() ? "" : ": ", exited.error());
}

// What the end of a rank says about its attempt.
enum class Cause {
  kNone,      // it is done
  kStopped,   // somebody wanted it to end
  kPeerLost,  // another rank's connection broke; what became of that one is the reason
  kPeerLate,  // another rank hangs
  kStalled,   // it hung
  kFailed,
};

Cause CauseOf(const v1::RankExited& exited, bool broken) {
  const int code = exited.exit().exit_code();
  if (code == kTrainerDone) return Cause::kNone;
  if (exited.stalled()) return Cause::kStalled;
  if (code == kTrainerPeerLost) return Cause::kPeerLost;
  if (code == kTrainerPeerLate) return Cause::kPeerLate;
  if (code == kTrainerStopped) return Cause::kStopped;
  // It was told to stop in a broken attempt, where there is nothing to save that could fail: these codes are news of its own.
  const bool own = broken && (code == kTrainerFailed || code == kTrainerBadInput);
  return exited.stopped() && !own ? Cause::kStopped : Cause::kFailed;
}

// Before the next attempt. An attempt that saved a checkpoint was no crash loop: the count starts anew.
double BackoffMs(const v1::Job& job, const v1::Attempt& attempt) {
  const uint32_t in_a_row = std::max(1u, attempt.number() - job.checkpoint().attempt());
  const double first = job.file().spec().restart().backoff_seconds() * 1000;
  if (in_a_row == 1) return std::min(first, kLongestFirstBackoffMs);
  return std::min(std::ldexp(first, static_cast<int>(std::min(in_a_row - 1, kMostDoublings))), kLongestBackoffMs);
}

bool WasLost(v1::EndReason reason) {
  return reason == v1::END_REASON_WORKER_LOST || reason == v1::END_REASON_WORKER_DRAINED || reason == v1::END_REASON_START_TIMEOUT;
}

}  // namespace

v1::Attempt* Cluster::Live(v1::Job& job) {
  if (job.attempts().empty()) return nullptr;
  v1::Attempt* attempt = job.mutable_attempts(job.attempts_size() - 1);
  return attempt->ended_ms() == 0 ? attempt : nullptr;
}

void Cluster::Launch(v1::Job& job, const Start& start, int64_t now_ms) {
  POLYMOE_CHECK(Live(job) == nullptr, "job %s is placed twice", job.id().c_str());
  v1::Attempt& attempt = *job.add_attempts();
  attempt.set_number(job.attempts_size());
  attempt.set_started_ms(now_ms);
  std::set<std::string> workers;
  for (size_t rank = 0; rank < start.slots.size(); ++rank) {
    const SlotRef& slot = start.slots[rank];
    POLYMOE_CHECK(!BusySlots(slot.worker).contains(slot.slot), "slot %u of %s is taken", slot.slot, slot.worker.c_str());
    v1::Placement& placement = *attempt.add_placements();
    placement.set_rank(static_cast<uint32_t>(rank));
    placement.set_worker(slot.worker);
    placement.set_slot(slot.slot);
    placement.set_instance(workers_.at(slot.worker).instance);
    workers.insert(slot.worker);
  }
  for (const std::string& worker : workers) Send(worker, LaunchMessage(job, attempt, worker));
  job.set_state(v1::JOB_STATE_STARTING);
  job.clear_waiting();
  Changed(job);
}

v1::CoordinatorMessage Cluster::LaunchMessage(const v1::Job& job, const v1::Attempt& attempt, const std::string& worker) const {
  v1::CoordinatorMessage message;
  v1::Launch& launch = *message.mutable_launch();
  launch.set_job(job.id());
  launch.set_attempt(attempt.number());
  *launch.mutable_file() = job.file();
  launch.set_world_size(attempt.placements_size());
  launch.set_resume_path(job.checkpoint().path());
  for (const v1::Placement& placement : attempt.placements()) {
    if (placement.worker() == worker && !Contains(attempt.ended_ranks(), placement.rank())) *launch.add_placements() = placement;
  }
  return message;
}

void Cluster::StopRanksThatAreOver(const v1::Register& message) {
  WorkerState& worker = workers_.at(message.worker());
  worker.zombies.clear();
  std::set<std::pair<std::string, uint32_t>> told;
  for (const v1::RankRef& rank : message.running()) {
    const auto job = jobs_.find(rank.job());
    v1::Attempt* live = job == jobs_.end() ? nullptr : Live(job->second);
    if (live != nullptr && live->number() != rank.attempt()) live = nullptr;
    const bool over = live == nullptr || Contains(live->ended_ranks(), rank.rank());
    if (over && job != jobs_.end() && rank.attempt() > 0 && rank.attempt() <= static_cast<uint32_t>(job->second.attempts_size())) {
      const v1::Placement* placement = PlacementOf(job->second.attempts(static_cast<int>(rank.attempt()) - 1), rank.rank());
      if (placement != nullptr) worker.zombies[{rank.job(), rank.attempt(), rank.rank()}] = placement->slot();
    }
    if ((over || live->stopping()) && told.emplace(rank.job(), rank.attempt()).second) {
      Send(message.worker(), StopMessage(rank.job(), rank.attempt(), live == nullptr || live->broken()));
    }
  }
}

void Cluster::SettleMissingRanks(const v1::Register& message, int64_t now_ms) {
  std::set<std::string> running;  // job/attempt/rank
  for (const v1::RankRef& rank : message.running()) running.insert(absl::StrCat(rank.job(), "/", rank.attempt(), "/", rank.rank()));
  for (auto& [id, job] : jobs_) {
    v1::Attempt* attempt = Live(job);
    if (attempt == nullptr) continue;
    v1::CoordinatorMessage launch = LaunchMessage(job, *attempt, message.worker());
    std::vector<uint32_t> missing;
    for (const v1::Placement& placement : launch.launch().placements()) {
      if (!running.contains(absl::StrCat(id, "/", attempt->number(), "/", placement.rank()))) missing.push_back(placement.rank());
    }
    if (missing.empty()) continue;
    if (!attempt->stopping()) {
      Send(message.worker(), std::move(launch));
    } else {
      for (const uint32_t rank : missing) EndRank(job, *attempt, rank, now_ms);
    }
  }
}

void Cluster::HandleReport(const std::string& worker, const v1::Report& report, int64_t now_ms) {
  v1::CoordinatorMessage ack;
  ack.mutable_report_ack()->set_sequence(report.sequence());
  Send(worker, std::move(ack));
  if (report.has_exited()) {
    workers_.at(worker).zombies.erase({report.rank().job(), report.rank().attempt(), report.rank().rank()});
  }
  const auto it = jobs_.find(report.rank().job());
  if (it == jobs_.end() || report.rank().attempt() == 0 ||
      report.rank().attempt() > static_cast<uint32_t>(it->second.attempts_size()))
    return;
  StoreReport(report);
  v1::Job& job = it->second;
  v1::Attempt* attempt = Live(job);
  // An older attempt changes nothing any more; nor does a rank that was given up with its worker.
  if (attempt == nullptr || attempt->number() != report.rank().attempt()) return;
  const v1::Placement* placement = PlacementOf(*attempt, report.rank().rank());
  if (placement == nullptr || placement->worker() != worker || Contains(attempt->ended_ranks(), report.rank().rank())) return;
  switch (report.body_case()) {
    case v1::Report::kStarted:
      OnStarted(job, *attempt, report.rank().rank(), report.started());
      break;
    case v1::Report::kPoints:
      OnPoints(job, report.points());
      break;
    case v1::Report::kCheckpoint:
      if (report.checkpoint().step() <= job.checkpoint().step()) break;
      job.mutable_checkpoint()->set_step(report.checkpoint().step());
      job.mutable_checkpoint()->set_tokens(report.checkpoint().tokens());
      job.mutable_checkpoint()->set_path(report.checkpoint().path());
      job.mutable_checkpoint()->set_attempt(attempt->number());
      job.mutable_checkpoint()->set_committed_ms(now_ms);
      saved_.insert(job.id());
      Changed(job);
      break;
    case v1::Report::kExited:
      OnExited(job, *attempt, report.rank().rank(), report.exited(), now_ms);
      break;
    default:
      break;
  }
}

void Cluster::StoreReport(const v1::Report& report) {
  if (report.has_points()) {
    const v1::StepPoints& p = report.points();
    for (const auto& [name, value] : p.values()) {
      effects_.points.push_back({report.rank().job(), name, {report.rank().attempt(), p.step(), p.tokens(), p.time_ms(), value}});
    }
  } else if (report.has_log()) {
    const v1::LogLine& line = report.log();
    effects_.logs.push_back(
        {report.rank().job(), report.rank().attempt(), report.rank().rank(), line.number(), line.time_ms(), line.text()});
  }
}

void Cluster::OnStarted(v1::Job& job, v1::Attempt& attempt, uint32_t rank, const v1::TrainerStarted& started) {
  if (Contains(attempt.started_ranks(), rank)) return;
  attempt.add_started_ranks(rank);
  if (rank == 0) {
    attempt.set_start_step(started.start_step());
    job.mutable_progress()->set_step(started.start_step());
  }
  if (attempt.started_ranks_size() == attempt.placements_size() && job.state() == v1::JOB_STATE_STARTING) {
    job.set_state(v1::JOB_STATE_RUNNING);
  }
  Changed(job);
}

void Cluster::OnPoints(v1::Job& job, const v1::StepPoints& points) {
  v1::Progress& progress = *job.mutable_progress();
  if (points.step() < progress.step()) return;  // sent again
  progress.set_step(points.step());
  progress.set_tokens(points.tokens());
  for (const auto& [name, value] : points.values()) {
    if (name == "loss") progress.set_loss(value);
    if (name == "tokens_per_second") progress.set_tokens_per_second(value);
    if (name.starts_with("val_loss/")) (*progress.mutable_validation_loss())[name.substr(sizeof("val_loss/") - 1)] = value;
  }
  Changed(job);
}

void Cluster::OnExited(v1::Job& job, v1::Attempt& attempt, uint32_t rank, const v1::RankExited& exited, int64_t now_ms) {
  const Cause cause = CauseOf(exited, attempt.broken());
  const bool first = attempt.end_reason() == v1::END_REASON_UNSPECIFIED;
  switch (cause) {
    case Cause::kNone:
      break;
    case Cause::kStopped:
      // Not by our order: its daemon drained, or gave the rank up when it could not reach us; or its peers' did.
      if (!attempt.stopping()) {
        StopAttempt(job, attempt, v1::END_REASON_WORKER_DRAINED, DescribeStop(exited));
      }
      break;
    case Cause::kPeerLost:
      BreakAttempt(job, attempt, v1::END_REASON_UNSPECIFIED, DescribeExit(exited));
      break;
    case Cause::kPeerLate:
      BreakAttempt(job, attempt, v1::END_REASON_STALLED, DescribeExit(exited));
      break;
    case Cause::kStalled:
    case Cause::kFailed:
      if (first) *attempt.mutable_exit() = exited.exit();
      BreakAttempt(job, attempt, cause == Cause::kFailed ? v1::END_REASON_TRAINER_FAILED : v1::END_REASON_STALLED,
                   DescribeExit(exited));
      break;
  }
  EndRank(job, attempt, rank, now_ms);
}

void Cluster::SetReason(v1::Job& job, v1::Attempt& attempt, v1::EndReason reason, const std::string& message) {
  if (attempt.end_reason() != v1::END_REASON_UNSPECIFIED) return;
  if (reason == v1::END_REASON_UNSPECIFIED && attempt.stopping()) return;  // another rank that lost its peer knows no more
  attempt.set_end_reason(reason);
  if (!message.empty()) job.set_message(message);
}

void Cluster::StopAttempt(v1::Job& job, v1::Attempt& attempt, v1::EndReason reason, const std::string& message) {
  SetReason(job, attempt, reason, message);
  Changed(job);
  if (attempt.stopping()) return;
  attempt.set_stopping(true);
  SendStops(job, attempt);
}

void Cluster::BreakAttempt(v1::Job& job, v1::Attempt& attempt, v1::EndReason reason, const std::string& message) {
  SetReason(job, attempt, reason, message);
  Changed(job);
  if (attempt.broken()) return;
  attempt.set_stopping(true);
  attempt.set_broken(true);
  SendStops(job, attempt);
}

void Cluster::SendStops(const v1::Job& job, const v1::Attempt& attempt) {
  std::set<std::string> workers;
  for (const v1::Placement& placement : attempt.placements()) {
    if (!Contains(attempt.ended_ranks(), placement.rank())) workers.insert(placement.worker());
  }
  for (const std::string& worker : workers) Send(worker, StopMessage(job.id(), attempt.number(), attempt.broken()));
}

v1::CoordinatorMessage Cluster::StopMessage(const std::string& job, uint32_t attempt, bool broken) const {
  v1::CoordinatorMessage message;
  message.mutable_stop()->set_job(job);
  message.mutable_stop()->set_attempt(attempt);
  message.mutable_stop()->set_grace_ms(broken ? config_.broken_grace_ms : config_.stop_grace_ms);
  return message;
}

void Cluster::EndRank(v1::Job& job, v1::Attempt& attempt, uint32_t rank, int64_t now_ms) {
  attempt.add_ended_ranks(rank);
  Changed(job);
  if (attempt.ended_ranks_size() == attempt.placements_size()) EndAttempt(job, attempt, now_ms);
}

void Cluster::LoseRanks(const std::string& worker, const std::string& why, int64_t now_ms,
                        const std::function<bool(const v1::Attempt&, const v1::Placement&)>& keep) {
  for (auto& [id, job] : jobs_) {
    v1::Attempt* attempt = Live(job);
    if (attempt == nullptr) continue;
    const auto placements = attempt->placements();
    for (const v1::Placement& placement : placements) {
      if (placement.worker() != worker || keep(*attempt, placement) || Contains(attempt->ended_ranks(), placement.rank())) continue;
      BreakAttempt(job, *attempt, v1::END_REASON_WORKER_LOST, why);
      EndRank(job, *attempt, placement.rank(), now_ms);
    }
  }
}

void Cluster::LoseUnreachableRanks(int64_t now_ms) {
  for (const auto& [name, worker] : workers_) {
    if (!worker.stream_broke) continue;
    LoseRanks(name, absl::StrCat("the connection of worker ", name, " broke"), now_ms,
              [](const v1::Attempt& attempt, const v1::Placement&) { return !attempt.broken(); });
  }
}

void Cluster::EndAttempt(v1::Job& job, v1::Attempt& attempt, int64_t now_ms) {
  attempt.set_ended_ms(now_ms);
  if (attempt.end_reason() == v1::END_REASON_UNSPECIFIED) {
    // Broken, and nobody died: it was the network between the workers.
    attempt.set_end_reason(attempt.broken() ? v1::END_REASON_WORKER_LOST : v1::END_REASON_COMPLETED);
  }
  effects_.attempt_ends.push_back(attempt.end_reason());
  if (attempt.end_reason() == v1::END_REASON_COMPLETED) {
    Finish(job, v1::JOB_STATE_SUCCEEDED, "", now_ms);
  } else if (job.cancel_requested()) {
    Finish(job, v1::JOB_STATE_CANCELLED, WhyCancelled(job), now_ms);
  } else {
    Retry(job, attempt, now_ms);
  }
}

void Cluster::Retry(v1::Job& job, const v1::Attempt& attempt, int64_t now_ms) {
  if (attempt.end_reason() == v1::END_REASON_RESIZED || attempt.end_reason() == v1::END_REASON_PAUSED)
    return AwaitRetry(job, attempt, now_ms);
  const v1::RestartSpec& restart = job.file().spec().restart();
  const bool lost = WasLost(attempt.end_reason());
  lost ? job.set_worker_losses(job.worker_losses() + 1) : job.set_failures(job.failures() + 1);
  const uint32_t used = lost ? job.worker_losses() : job.failures();
  const uint32_t allowed = lost ? restart.max_worker_losses() : restart.max_failures();
  if (attempt.end_reason() == v1::END_REASON_TRAINER_FAILED && attempt.exit().exit_code() == kTrainerBadInput) {
    return Finish(job, v1::JOB_STATE_FAILED, absl::StrCat(job.message(), " (not retried: it would end the same way)"), now_ms);
  }
  if (used > allowed) {
    return Finish(job, v1::JOB_STATE_FAILED,
                  absl::StrCat(job.message(), " (given up after ", used, lost ? " lost" : " failed", " attempts)"), now_ms);
  }
  const bool had_trained = attempt.started_ranks_size() == attempt.placements_size();
  AwaitRetry(job, attempt, lost && had_trained ? now_ms : now_ms + static_cast<int64_t>(BackoffMs(job, attempt)));
}

void Cluster::AwaitRetry(v1::Job& job, const v1::Attempt& attempt, int64_t until_ms) {
  job.set_state(v1::JOB_STATE_PENDING);
  job.mutable_waiting()->set_reason(v1::WAIT_REASON_BACKOFF);
  job.mutable_waiting()->set_detail(absl::StrCat("attempt ", attempt.number(), " ended: ", job.message()));
  job.mutable_waiting()->set_until_ms(until_ms);
  Changed(job);
}

void Cluster::Finish(v1::Job& job, v1::JobState state, const std::string& message, int64_t now_ms) {
  job.set_state(state);
  job.set_message(message);
  job.clear_waiting();
  job.set_finished_ms(now_ms);
  Changed(job);
}

}  // namespace polymoe
