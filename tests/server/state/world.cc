#include "tests/server/state/world.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"

#include "common/spec/names.h"
#include "common/spec/ranks.h"
#include "common/trainer_exit.h"

namespace polymoe {
namespace {

constexpr size_t kMostJobs = 10;
constexpr uint32_t kSlots = 2, kDaemons = 3;
constexpr uint64_t kLastStep = 6, kStepTokens = 10;  // of every job

}  // namespace

World::World(uint64_t seed) : random_(seed) {
  config_.start_timeout_ms = 20'000;
  config_.scheduler.max_bypass_ms = 5'000;
  cluster_ = std::make_unique<Cluster>(config_);
  for (uint32_t d = 0; d < kDaemons; ++d) daemons_.emplace_back(absl::StrCat("w", d), kSlots);
}

void World::Step() {
  DaemonModel& daemon = AnyDaemon();
  switch (Random(100)) {
    case 0:
      RestartCoordinator();
      break;
    case 1:
      RestartDaemon(daemon);
      break;
    case 2:
      Pass(static_cast<int64_t>(Random(15'000)));
      break;
    case 3:
      if (const std::string id = absl::StrCat("job", Random(kMostJobs)); cluster_->jobs().contains(id) && OneIn(3))
        Expect(cluster_->Cancel(id, now_ms_).ok(), "a job that is there can be cancelled");
      break;
    case 4:
      if (OneIn(2)) daemon.Drain();
      break;
    case 5:
      if (cluster_->workers().contains(daemon.name()) && OneIn(2))
        Expect(cluster_->Drain(daemon.name()).ok(), "a worker that is there can be drained");
      break;
    case 6:
    case 7:
    case 8:
      BreakStream(daemon);
      break;
    case 9:
    case 10:
    case 11:
      OneIn(4) ? SubmitAblation() : Submit();
      break;
    case 14:
      DisturbAblation();
      break;
    case 12:
    case 13:
      daemon.Repeat(Random(1000));
      break;
    default:
      switch (Random(5)) {
        case 0:
          Pass(static_cast<int64_t>(Random(600)));
          break;
        case 1:
          if (!daemon.connected) daemon.Connect(now_ms_);
          daemon.Heartbeat(now_ms_);
          ToCoordinator(daemon, 1 + Random(8));
          break;
        case 2:
          ToDaemon(daemon, 1 + Random(8));
          break;
        case 3:
          Tick(true);
          break;
        case 4:
          if (!daemon.ranks.empty()) Advance(daemon, std::next(daemon.ranks.begin(), Random(daemon.ranks.size()))->first, true);
          if (daemon.draining && daemon.idle() && OneIn(4)) RestartDaemon(daemon);
          break;
      }
  }
  CheckState();
}

bool World::Settle() {
  for (DaemonModel& daemon : daemons_) {
    if (daemon.draining) RestartDaemon(daemon);
  }
  Tick(false);
  ResumeAblations();
  for (int round = 0; round < 1'000; ++round) {
    Pass(500);
    for (DaemonModel& daemon : daemons_) {
      if (!daemon.connected) daemon.Connect(now_ms_);
      if (daemon.draining && daemon.idle()) RestartDaemon(daemon);
      daemon.Heartbeat(now_ms_);
      ToCoordinator(daemon, daemon.to_coordinator.size());
    }
    Tick(false);
    for (DaemonModel& daemon : daemons_) {
      ToDaemon(daemon, daemon.from_coordinator.size());
      std::vector<DaemonModel::RankKey> keys;
      for (const auto& [key, rank] : daemon.ranks) keys.push_back(key);
      for (const DaemonModel::RankKey& key : keys) Advance(daemon, key, false);
    }
    CheckState();
    const auto is_final = [](const auto& entry) { return IsFinal(entry.second.state()); };
    const bool over = std::all_of(committed_.begin(), committed_.end(), is_final) &&
                      std::all_of(committed_ablations_.begin(), committed_ablations_.end(), is_final);
    // Nor does any rank outlive its job.
    if (over && std::all_of(daemons_.begin(), daemons_.end(), [](const auto& daemon) { return daemon.ranks.empty(); })) return true;
  }
  return false;
}

void World::Submit() {
  const size_t own = std::count_if(cluster_->jobs().begin(), cluster_->jobs().end(),
                                   [](const auto& entry) { return !entry.second.has_ablation(); });
  const std::string id = absl::StrCat("job", own);
  if (own == kMostJobs) return;
  v1::SubmitRequest request;
  request.set_request_id("request of " + id);
  request.mutable_file()->mutable_metadata()->set_name(id);
  v1::JobSpec& spec = *request.mutable_file()->mutable_spec();
  spec.mutable_resources()->set_ranks(static_cast<uint32_t>(1 + Random(kSlots * kDaemons)));
  if (OneIn(2)) spec.mutable_resources()->set_min_ranks(static_cast<uint32_t>(1 + Random(spec.resources().ranks())));
  spec.mutable_resources()->set_expert_parallel(1);
  spec.mutable_train()->set_global_batch(60);  // divides by every number of ranks here
  spec.mutable_train()->set_micro_batch(1);
  spec.mutable_train()->set_tokens(kLastStep * kStepTokens);
  spec.mutable_restart()->set_max_failures(static_cast<uint32_t>(Random(3)));
  spec.mutable_restart()->set_max_worker_losses(static_cast<uint32_t>(1 + Random(5)));
  spec.mutable_restart()->set_backoff_seconds(0.5);
  Expect(cluster_->Submit(request, id, now_ms_).ok(), "a new request is taken");
}

void World::Pass(int64_t ms) {
  now_ms_ += ms;
  for (DaemonModel& daemon : daemons_) WatchLease(daemon);
}

void World::WatchLease(DaemonModel& daemon) {
  const auto ranks = daemon.ranks;
  if (daemon.KeepsLease(now_ms_)) return;
  for (const auto& [key, rank] : ranks) FateOf(key) = std::max(FateOf(key), Fate::kStopsTogether);
  BreakStream(daemon);
}

void World::Tick(bool may_die) {
  const std::map<std::string, v1::Job> before = cluster_->jobs();
  cluster_->Tick(now_ms_);
  CheckReasons();
  CheckResizes(before);
  CheckAblations(before);
  if (may_die && OneIn(60)) return RestartCoordinator();
  Effects effects = cluster_->Take();
  for (const std::string& id : effects.jobs) {
    const v1::Job& job = cluster_->jobs().at(id);
    CheckCommit(committed_[id], job);
    committed_[id].ParseFromString(job.SerializeAsString());
    requests_[id] = cluster_->request_id(id);
  }
  for (const std::string& id : effects.ablations) {
    committed_ablations_[id].ParseFromString(cluster_->ablations().at(id).SerializeAsString());
    requests_[id] = cluster_->ablation_request_id(id);
  }
  for (const v1::EndReason reason : effects.attempt_ends) happened_.insert(v1::EndReason_Name(reason));
  if (may_die && OneIn(60)) return RestartCoordinator();
  for (auto& [worker, message] : effects.messages) {
    for (DaemonModel& daemon : daemons_) {
      if (daemon.name() == worker && linked_.contains(worker)) daemon.from_coordinator.push_back(message);
    }
  }
}

void World::RestartCoordinator() {
  happened_.insert("coordinator restarted");
  cluster_ = std::make_unique<Cluster>(config_);
  for (const auto& [id, job] : committed_) cluster_->Restore(job, requests_.at(id), now_ms_);
  for (const auto& [id, ablation] : committed_ablations_)
    Expect(cluster_->RestoreAblation(ablation, requests_.at(id)).ok(), "an ablation is kept with all its jobs: " + id);
  linked_.clear();
  for (DaemonModel& daemon : daemons_) daemon.Break();
}

void World::ToCoordinator(DaemonModel& daemon, size_t count) {
  for (; count > 0 && !daemon.to_coordinator.empty(); --count) {
    const v1::WorkerMessage message = daemon.to_coordinator.front();
    daemon.to_coordinator.pop_front();
    if (message.has_register_()) {
      linked_.insert(daemon.name());
      cluster_->Register(message.register_(), now_ms_);
    } else if (cluster_->workers().contains(daemon.name())) {  // else its lease ran out, and only a new stream helps
      if (message.has_heartbeat()) cluster_->Heartbeat(daemon.name(), message.heartbeat().sequence(), now_ms_);
      if (message.has_report()) ReceiveReport(daemon.name(), message.report());
      if (message.has_draining()) cluster_->SetDraining(daemon.name());
    }
    CheckState();
  }
}

void World::ReceiveReport(const std::string& worker, const v1::Report& report) {
  const v1::Job before = cluster_->jobs().at(report.rank().job());
  cluster_->HandleReport(worker, report, now_ms_);
  const v1::Job& after = cluster_->jobs().at(report.rank().job());
  if (report.rank().attempt() == static_cast<uint32_t>(before.attempts_size()) && before.attempts().rbegin()->ended_ms() == 0)
    return;
  Expect(google::protobuf::util::MessageDifferencer::Equals(before, after),
         "attempts that are over change nothing: " + before.id());
  if (report.has_checkpoint()) happened_.insert("late checkpoint");
}

void World::ToDaemon(DaemonModel& daemon, size_t count) {
  for (; count > 0 && !daemon.from_coordinator.empty(); --count) {
    const v1::CoordinatorMessage message = daemon.from_coordinator.front();
    daemon.from_coordinator.pop_front();
    Expect(daemon.Handle(message), "no rank is launched into a slot that holds another");
    WatchLease(daemon);  // the message may have been under way for longer
  }
  CheckProcesses();
}

void World::BreakStream(DaemonModel& daemon) {
  daemon.Break();
  linked_.erase(daemon.name());
  if (OneIn(2)) cluster_->Disconnect(daemon.name());  // else nobody notices before the lease does
}

void World::RestartDaemon(DaemonModel& daemon) {
  happened_.insert("daemon restarted");
  for (const auto& [key, rank] : daemon.ranks) FateOf(key) = Fate::kBroke;
  BreakStream(daemon);
  daemon.Restart();
}

void World::Advance(DaemonModel& daemon, const DaemonModel::RankKey& key, bool faults) {
  DaemonModel::Rank& rank = daemon.ranks.at(key);
  Fate& fate = FateOf(key);
  v1::RankExited exited;
  if (rank.told_to_stop) {
    fate = std::max(fate, Fate::kStopsTogether);
    return daemon.End(key, DaemonModel::Stopped());
  }
  if (rank.hangs) {
    if (faults && !OneIn(3)) return;
    fate = Fate::kBroke;
    exited.mutable_exit()->set_exit_code(-1);
    exited.mutable_exit()->set_signal(9);
    exited.set_stalled(true);
    return daemon.End(key, exited);
  }
  if (fate == Fate::kHangs && faults && !OneIn(3)) return;
  if (fate == Fate::kHangs || fate == Fate::kBroke) {
    exited.mutable_exit()->set_exit_code(fate == Fate::kHangs ? kTrainerPeerLate : kTrainerPeerLost);
    fate = Fate::kBroke;
    return daemon.End(key, exited);
  }
  if (fate == Fate::kStopsTogether) {
    exited.mutable_exit()->set_exit_code(kTrainerStopped);
    return daemon.End(key, exited);
  }
  if (faults && OneIn(25)) {
    fate = Fate::kBroke;
    exited.mutable_exit()->set_exit_code(OneIn(8) ? kTrainerBadInput : OneIn(2) ? kTrainerFailed : -1);
    if (exited.exit().exit_code() < 0) exited.mutable_exit()->set_signal(9);
    return daemon.End(key, exited);
  }
  if (faults && OneIn(60)) {
    fate = Fate::kHangs;
    rank.hangs = true;
    return;
  }
  if (faults && OneIn(200)) fate = Fate::kBroke;  // the network between its ranks
  Train(daemon, key);
}

bool World::IsWhole(const DaemonModel::RankKey& key) const {
  const auto came_up = came_up_.find({key.job, key.attempt});
  const int ranks = cluster_->jobs().at(key.job).attempts(static_cast<int>(key.attempt) - 1).placements_size();
  return came_up != came_up_.end() && came_up->second.size() == static_cast<size_t>(ranks);
}

void World::Train(DaemonModel& daemon, const DaemonModel::RankKey& key) {
  DaemonModel::Rank& rank = daemon.ranks.at(key);
  v1::Report report;
  if (!rank.training) {
    rank.training = true;
    came_up_[{key.job, key.attempt}].insert(key.rank);
    report.mutable_started()->set_start_step(rank.step);
  } else if (!IsWhole(key)) {
    return;
  } else if (rank.step == kLastStep) {
    return daemon.End(key, v1::RankExited());
  } else {
    ++rank.step;
    if (key.rank != 0) return;  // rank 0 speaks for all
    if (rank.step % 2 == 0) {
      report.mutable_checkpoint()->set_step(rank.step);
      report.mutable_checkpoint()->set_tokens(rank.step * kStepTokens);
      report.mutable_checkpoint()->set_path(absl::StrCat(rank.step));  // the model resumes from the number
    } else {
      report.mutable_points()->set_step(rank.step);
      (*report.mutable_points()->mutable_values())["loss"] = 1;
    }
  }
  daemon.Say(key, report);
}

void World::Expect(bool holds, const std::string& promise) {
  if (!holds && violation_.empty()) violation_ = promise;
}

void World::CheckState() {
  std::set<std::pair<std::string, uint32_t>> taken;
  for (const auto& [id, job] : cluster_->jobs()) {
    CheckJob(job);
    if (job.attempts().empty() || job.attempts().rbegin()->ended_ms() != 0) continue;
    const v1::Attempt& live = *job.attempts().rbegin();
    for (const v1::Placement& placement : live.placements()) {
      const auto& ended = live.ended_ranks();
      if (std::find(ended.begin(), ended.end(), placement.rank()) != ended.end()) continue;
      Expect(taken.emplace(placement.worker(), placement.slot()).second, absl::StrCat("a slot belongs to one rank: ", id));
    }
  }
}

void World::CheckJob(const v1::Job& job) {
  const std::string& id = job.id();
  for (int i = 0; i < job.attempts_size(); ++i) {
    const v1::Attempt& attempt = job.attempts(i);
    Expect(attempt.number() == static_cast<uint32_t>(i + 1), "attempts count from 1: " + id);
    const std::vector<uint32_t> ranks = RankChoices(job.file().spec());
    Expect(std::find(ranks.begin(), ranks.end(), static_cast<uint32_t>(attempt.placements_size())) != ranks.end(),
           "gangs are whole: " + id);
    const std::set<uint32_t> ended(attempt.ended_ranks().begin(), attempt.ended_ranks().end());
    Expect(ended.size() == static_cast<size_t>(attempt.ended_ranks_size()), "a rank ends once: " + id);
    Expect((attempt.ended_ms() != 0) == (ended.size() == static_cast<size_t>(attempt.placements_size())),
           "an attempt is over when all its ranks are: " + id);
    Expect(attempt.ended_ms() != 0 || i == job.attempts_size() - 1, "only the newest attempt lives: " + id);
  }
  const bool live = !job.attempts().empty() && job.attempts().rbegin()->ended_ms() == 0;
  Expect(live == (job.state() == v1::JOB_STATE_STARTING || job.state() == v1::JOB_STATE_RUNNING),
         "live attempts show in the state: " + id);
  Expect((job.finished_ms() != 0) == IsFinal(job.state()), "final jobs have a time: " + id);
  Expect(job.has_waiting() == (job.state() == v1::JOB_STATE_PENDING), "waiting jobs have a reason, others none: " + id);
  const v1::RestartSpec& budget = job.file().spec().restart();
  const bool spent = job.failures() > budget.max_failures() || job.worker_losses() > budget.max_worker_losses();
  Expect(!spent || job.state() == v1::JOB_STATE_FAILED, "budgets are kept: " + id);
  Expect(job.failures() <= budget.max_failures() + 1 && job.worker_losses() <= budget.max_worker_losses() + 1,
         "budgets are kept: " + id);
  CheckCharges(job);
}

void World::CheckCharges(const v1::Job& job) {
  uint32_t failures = 0, losses = 0;
  for (const v1::Attempt& attempt : job.attempts()) {
    if (attempt.ended_ms() == 0) continue;
    const v1::EndReason reason = attempt.end_reason();
    Expect(reason != v1::END_REASON_UNSPECIFIED, "attempts end for a reason: " + job.id());
    failures += reason == v1::END_REASON_TRAINER_FAILED || reason == v1::END_REASON_STALLED;
    losses +=
        reason == v1::END_REASON_WORKER_LOST || reason == v1::END_REASON_WORKER_DRAINED || reason == v1::END_REASON_START_TIMEOUT;
  }
  if (job.state() == v1::JOB_STATE_CANCELLED) return;  // its last attempt is charged to nobody
  Expect(job.failures() == failures && job.worker_losses() == losses, "each end is charged where it belongs: " + job.id());
}

uint32_t World::FreeSlots() const {
  uint32_t free = 0;
  for (const auto& [name, worker] : cluster_->workers()) {
    if (worker.connected && !worker.draining) free += worker.slots.size() - cluster_->BusySlots(name).size();
  }
  return free;
}

void World::CheckResizes(const std::map<std::string, v1::Job>& before) {
  for (const auto& [id, job] : cluster_->jobs()) {
    if (job.attempts().empty() || job.attempts().rbegin()->end_reason() != v1::END_REASON_RESIZED) continue;
    const v1::Attempt& attempt = *job.attempts().rbegin();
    if (before.at(id).attempts().rbegin()->end_reason() == v1::END_REASON_RESIZED) continue;
    Expect(job.checkpoint().attempt() == attempt.number(), "a resize is at a checkpoint: " + id);
    Expect(MostRanks(job.file().spec(), attempt.placements_size() + FreeSlots()) > static_cast<uint32_t>(attempt.placements_size()),
           "a resize is towards more ranks: " + id);
    for (const auto& [other, waiting] : cluster_->jobs()) {
      Expect(waiting.state() != v1::JOB_STATE_PENDING || waiting.held() ||
                 waiting.waiting().reason() == v1::WAIT_REASON_CLUSTER_TOO_SMALL,
             absl::StrCat("nobody grows into slots that ", other, " waits for: ", id));
    }
  }
}

void World::CheckReasons() {
  for (const auto& [id, job] : cluster_->jobs()) {
    if (job.state() != v1::JOB_STATE_PENDING) continue;
    Expect(job.waiting().reason() > v1::WAIT_REASON_NOT_YET_SCHEDULED && !job.waiting().detail().empty(),
           "a job that waits says why: " + id);
    happened_.insert(v1::WaitReason_Name(job.waiting().reason()));
    if (job.waiting().reason() == v1::WAIT_REASON_SLOTS_BUSY)
      Expect(RankChoices(job.file().spec()).back() > FreeSlots(), "no job waits while its minimum fits: " + id);
  }
}

void World::CheckCommit(const v1::Job& before, const v1::Job& after) {
  Expect(!IsFinal(before.state()), "final jobs change no more: " + after.id());
  Expect(after.checkpoint().step() >= before.checkpoint().step(), "checkpoints do not go back: " + after.id());
  Expect(after.revision() > before.revision(), "revisions grow: " + after.id());
  Expect(after.attempts_size() >= before.attempts_size(), "attempts are kept: " + after.id());
  if (after.attempts_size() == before.attempts_size() && after.state() == before.state() && !after.attempts().empty() &&
      after.attempts().rbegin()->started_ranks_size() == before.attempts().rbegin()->started_ranks_size()) {
    Expect(after.progress().step() >= before.progress().step(), "progress does not go back within an attempt: " + after.id());
  }
}

// What really runs, whatever the coordinator believes: ranks of one attempt of a job, and zombies of broken ones.
void World::CheckProcesses() {
  std::map<std::string, uint32_t> attempts;
  for (const DaemonModel& daemon : daemons_) {
    for (const auto& [key, rank] : daemon.ranks) {
      if (cluster_->jobs().at(key.job).attempts(static_cast<int>(key.attempt) - 1).broken()) {
        Expect(FateOf(key) != Fate::kTrains || !IsWhole(key), "a broken attempt trains no more: " + key.job);
        continue;
      }
      const uint32_t attempt = attempts.emplace(key.job, key.attempt).first->second;
      Expect(attempt == key.attempt, "no two attempts of a job train at a time: " + key.job);
    }
  }
}

}  // namespace polymoe
