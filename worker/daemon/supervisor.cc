#include "worker/daemon/supervisor.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/worker.pb.h"

#include "common/check.h"
#include "common/cpus.h"
#include "common/file.h"
#include "common/log.h"
#include "common/process.h"
#include "common/spec/yaml_write.h"
#include "common/status.h"
#include "worker/daemon/daemon_metrics.h"

namespace polymoe {
namespace {

// A rank that waits in vain for another one says so after stallSeconds; only then is it the one that hangs.
constexpr double kStallsBeforeKill = 1.5;
constexpr int kNotStartedExitCode = 127;  // as a shell says it

// Job ids become folder names here; the coordinator makes them of these characters only.
bool IsSafeName(absl::string_view job) {
  return !job.empty() && job.size() <= 200 && std::all_of(job.begin(), job.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  });
}

std::string DescribeEnd(const v1::RankExited& exited) {
  return Describe(ProcessExit{.exit_code = exited.exit().exit_code(), .signal = exited.exit().signal()});
}

}  // namespace

Supervisor::Supervisor(SupervisorOptions options, const Clock& clock, DaemonMetrics* metrics, ReportSink sink,
                       std::function<void()> on_lease_expired)
    : options_(std::move(options)),
      clock_(clock),
      metrics_(metrics),
      sink_(std::move(sink)),
      on_lease_expired_(std::move(on_lease_expired)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  POLYMOE_CHECK(wake_.get() >= 0, "eventfd: %s", std::strerror(errno));
  UpdateMetrics();
  thread_ = std::thread([this] { Loop(); });
}

Supervisor::~Supervisor() {
  Post([this] { quit_ = true; });
  thread_.join();
}

void Supervisor::Post(std::function<void()> command) {
  {
    const std::lock_guard lock(mutex_);
    commands_.push_back(std::move(command));
  }
  POLYMOE_CHECK(eventfd_write(wake_.get(), 1) == 0, "eventfd: %s", std::strerror(errno));
}

void Supervisor::Launch(const v1::Launch& launch) {
  std::vector<v1::Placement> fresh;
  {
    const std::lock_guard lock(mutex_);
    NewestAttempt& newest = newest_[launch.job()];
    if (launch.attempt() < newest.number) {
      LogWarning("launch of an old attempt ignored", {{"job", launch.job()}, {"attempt", absl::StrCat(launch.attempt())}});
      return;
    }
    if (launch.attempt() > newest.number) newest = {.number = launch.attempt()};
    for (const v1::Placement& placement : launch.placements()) {
      if (!newest.ranks.insert(placement.rank()).second) continue;
      running_.insert({launch.job(), launch.attempt(), placement.rank()});
      fresh.push_back(placement);
    }
  }
  if (!fresh.empty()) Post([this, launch, fresh = std::move(fresh)] { StartRanks(launch, fresh); });
}

void Supervisor::Stop(const std::string& job, uint32_t attempt, absl::Duration grace) {
  Post([this, job, attempt, grace] {
    for (const auto& [key, rank] : ranks_) {
      if (key.job == job && key.attempt == attempt) rank->Stop(clock_.Monotonic() + grace);
    }
  });
}

void Supervisor::Drain() {
  Post([this] {
    draining_ = true;
    StopAll(options_.stop_grace);
  });
}

void Supervisor::RenewLease(absl::Duration deadline) {
  Post([this, deadline] {
    lease_deadline_ = deadline;
    if (clock_.Monotonic() < deadline) lease_expired_ = false;  // else the answer came too late to change anything
  });
}

std::vector<v1::RankRef> Supervisor::Running() const {
  const std::lock_guard lock(mutex_);
  std::vector<v1::RankRef> ranks;
  for (const RankKey& key : running_) ranks.push_back(MakeReport(key).rank());
  return ranks;
}

bool Supervisor::WaitUntilIdle(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [this] { return running_.empty(); });
}

void Supervisor::Loop() {
  while (!quit_) {
    Poll();
    RunCommands();
    CheckDeadlines();
  }
  ranks_.clear();
}

void Supervisor::Poll() {
  std::vector<pollfd> watched = {{.fd = wake_.get(), .events = POLLIN}};
  for (const auto& [key, rank] : ranks_) {
    for (const int fd : {rank->exit_fd(), rank->output_fd(), rank->events_fd()}) watched.push_back({.fd = fd, .events = POLLIN});
  }
  // At most a minute at a time, which keeps the milliseconds in an int; rounded up, so as not to spin just before a deadline.
  const absl::Duration wait = std::clamp(NextDeadline() - clock_.Monotonic(), absl::ZeroDuration(), absl::Minutes(1));
  const int milliseconds = static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(wait, absl::Milliseconds(1))));
  if (poll(watched.data(), watched.size(), milliseconds) < 0) {
    POLYMOE_CHECK(errno == EINTR, "poll: %s", std::strerror(errno));
    return;
  }
  if (watched[0].revents != 0) {
    eventfd_t ignored;
    eventfd_read(wake_.get(), &ignored);
  }
  size_t i = 1;
  for (auto entry = ranks_.begin(); entry != ranks_.end(); i += 3) {
    Rank& rank = *entry->second;
    if (watched[i].revents != 0) {
      v1::RankExited exited = rank.Reap();
      const RankKey key = entry->first;
      entry = ranks_.erase(entry);
      CountEnd(exited);
      ReportEnd(key, std::move(exited));
      continue;
    }
    // Events first: a line of the log does not overtake what the trainer reported before it.
    if (watched[i + 2].revents != 0) rank.ReadEvents();
    if (watched[i + 1].revents != 0) rank.ReadOutput();
    ++entry;
  }
}

void Supervisor::RunCommands() {
  std::vector<std::function<void()>> commands;
  {
    const std::lock_guard lock(mutex_);
    commands.swap(commands_);
  }
  for (const auto& command : commands) command();
}

absl::Duration Supervisor::NextDeadline() const {
  absl::Duration next = lease_expired_ ? absl::InfiniteDuration() : lease_deadline_;
  for (const auto& [key, rank] : ranks_) next = std::min(next, rank->kill_at());
  return next;
}

void Supervisor::CheckDeadlines() {
  const absl::Duration now = clock_.Monotonic();
  if (!lease_expired_ && now >= lease_deadline_) {
    lease_expired_ = true;
    LogError("no answer of the coordinator for a whole lease; stopping all ranks", {{"ranks", absl::StrCat(ranks_.size())}});
    metrics_->lease_expirations.Increment();
    StopAll(options_.stop_grace);
    on_lease_expired_();
  }
  for (const auto& [key, rank] : ranks_) rank->KillIfDue(now);
}

void Supervisor::StopAll(absl::Duration grace) {
  const absl::Duration kill_at = clock_.Monotonic() + grace;
  for (const auto& [key, rank] : ranks_) rank->Stop(kill_at);
}

void Supervisor::StartRanks(const v1::Launch& launch, const std::vector<v1::Placement>& placements) {
  for (const auto& [key, rank] : ranks_) {
    if (key.job == launch.job() && key.attempt < launch.attempt()) rank->Stop(clock_.Monotonic());
  }
  CheckDeadlines();  // this launch may have waited in a pipe for longer than the lease; those kills are due now too
  const std::string folder = absl::StrCat(options_.work_dir, "/jobs/", launch.job(), "/attempt-", launch.attempt());
  absl::Status ready = absl::OkStatus();
  if (draining_) {
    ready = absl::UnavailableError("the worker is being drained; it takes no new ranks");
  } else if (lease_expired_) {
    ready = absl::UnavailableError("the worker's lease had run out when the launch came");
  } else if (!IsSafeName(launch.job())) {
    ready = absl::InvalidArgumentError("a job id has only letters, digits, '-' and '_'");
  }
  if (ready.ok()) ready = MakeDirectories(folder);
  if (ready.ok()) ready = WriteFileDurably(absl::StrCat(folder, "/job.yaml"), MessageToYaml(launch.file()));
  for (const v1::Placement& placement : placements) {
    const absl::Status started = ready.ok() ? StartRank(launch, placement, folder) : ready;
    if (!started.ok()) ReportNotStarted({launch.job(), launch.attempt(), placement.rank()}, started);
  }
  UpdateMetrics();
}

absl::Status Supervisor::StartRank(const v1::Launch& launch, const v1::Placement& placement, const std::string& folder) {
  RankOptions rank;
  rank.key = {launch.job(), launch.attempt(), placement.rank()};
  rank.slot = placement.slot();
  rank.threads = options_.threads_per_slot;
  // Asked for each rank: a container's CPUs can change, and a rank cannot be started on one that is gone.
  const std::vector<std::vector<int>> shares = ShareCpus(UsableCpus(), options_.slots, options_.threads_per_slot);
  if (rank.slot < shares.size()) rank.cpus = shares[rank.slot];
  rank.world_size = launch.world_size();
  rank.trainer = options_.trainer;
  rank.server = options_.server;
  rank.folder = folder;
  rank.checkpoint_dir = absl::StrCat(options_.checkpoint_root, "/", launch.job());
  rank.resume_path = launch.resume_path();
  rank.bind = options_.bind;
  rank.host = options_.host;
  if (const double stall = launch.file().spec().restart().stall_seconds(); stall > 0) {
    rank.stall = absl::Seconds(stall * kStallsBeforeKill);
  }
  POLYMOE_ASSIGN_OR_RETURN(auto process, Rank::Start(std::move(rank), clock_, sink_));
  LogInfo("rank started", {{"job", launch.job()},
                           {"attempt", absl::StrCat(launch.attempt())},
                           {"rank", absl::StrCat(placement.rank())},
                           {"slot", absl::StrCat(placement.slot())}});
  const RankKey key = process->key();
  ranks_.emplace(key, std::move(process));
  return absl::OkStatus();
}

void Supervisor::ReportNotStarted(const RankKey& key, const absl::Status& why) {
  v1::RankExited exited;
  exited.mutable_exit()->set_rank(key.rank);
  exited.mutable_exit()->set_exit_code(kNotStartedExitCode);
  exited.set_error(std::string(why.message()));
  exited.set_stopped(absl::IsUnavailable(why));  // this worker could not, another can: not the job's fault
  metrics_->exits_not_started.Increment();
  ReportEnd(key, std::move(exited));
}

void Supervisor::ReportEnd(const RankKey& key, v1::RankExited exited) {
  LogInfo("rank ended", {{"job", key.job},
                         {"attempt", absl::StrCat(key.attempt)},
                         {"rank", absl::StrCat(key.rank)},
                         {"end", DescribeEnd(exited)},
                         {"stopped", exited.stopped() ? "true" : "false"},
                         {"error", exited.error()}});
  exited.mutable_exit()->set_worker(options_.worker);
  v1::Report report = MakeReport(key);
  *report.mutable_exited() = std::move(exited);
  UpdateMetrics();
  sink_(std::move(report));  // first: the session tells the coordinator of ranks that run or whose end waits, without a gap
  {
    const std::lock_guard lock(mutex_);
    running_.erase(key);
  }
  idle_.notify_all();
}

void Supervisor::CountEnd(const v1::RankExited& exited) {
  if (exited.stalled()) {
    metrics_->exits_stalled.Increment();
  } else if (exited.stopped()) {
    metrics_->exits_stopped.Increment();
  } else if (exited.exit().signal() != 0) {
    metrics_->exits_killed.Increment();
  } else if (exited.exit().exit_code() != 0) {
    metrics_->exits_failed.Increment();
  } else {
    metrics_->exits_ok.Increment();
  }
}

void Supervisor::UpdateMetrics() {
  std::set<uint32_t> busy;
  for (const auto& [key, rank] : ranks_) busy.insert(rank->slot());
  metrics_->slots_busy.Set(static_cast<double>(busy.size()));
  metrics_->slots_free.Set(static_cast<double>(options_.slots) - static_cast<double>(busy.size()));
  metrics_->ranks_running.Set(static_cast<double>(ranks_.size()));
}

}  // namespace polymoe
