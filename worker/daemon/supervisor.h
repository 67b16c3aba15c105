// Runs the ranks of one node. One thread starts, reads, stops and reaps all of them with poll(2); it lives as long as the supervisor,
// which the ranks' death signal is bound to (PR_SET_PDEATHSIG fires when the *thread* that forked ends).
//
// When its slots fill the CPUs that it may use (common/cpus.h), each slot's ranks run on CPUs of their own.
//
// Every rank of every accepted launch ends in exactly one RankExited report, its last one; a rank that could not be started too, with
// exit code 127.
#ifndef POLYMOE_WORKER_DAEMON_SUPERVISOR_H_
#define POLYMOE_WORKER_DAEMON_SUPERVISOR_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "common/clock.h"
#include "worker/daemon/descriptor.h"
#include "worker/daemon/rank.h"

namespace polymoe {

class DaemonMetrics;

namespace v1 {
class Launch;
class Placement;
class RankRef;
}  // namespace v1

struct SupervisorOptions {
  std::string worker;           // our name, for the reports
  std::string host;             // for people
  std::string server;           // handed to the trainers
  std::string trainer;          // path of polymoe-train
  std::string work_dir;         // WORK_DIR/jobs/JOB/attempt-N/ holds job.yaml and rank-R.log
  std::string checkpoint_root;  // CHECKPOINT_ROOT/JOB, shared between workers
  std::string bind;             // address or interface where ranks meet; empty: the trainer's default
  uint32_t slots = 1;
  uint32_t threads_per_slot = 1;
  absl::Duration stop_grace;  // between SIGTERM and SIGKILL where the caller gives none
};

// Thread-safe: the calls hand their work to the thread and return at once.
class Supervisor {
 public:
  // `sink` and `on_lease_expired` are called on the supervisor's thread. All references outlive it.
  Supervisor(SupervisorOptions options, const Clock& clock, DaemonMetrics* metrics, ReportSink sink,
             std::function<void()> on_lease_expired);
  // Kills what still runs, without reports.
  ~Supervisor();

  // Starts the ranks that this attempt did not start here before; a repeated launch changes nothing. Ranks of older attempts of the
  // job are killed at once: whatever they do is refused by now. A launch of an older attempt than the newest one seen is ignored.
  void Launch(const v1::Launch& launch);

  // SIGTERM, and SIGKILL after `grace`. Unknown attempts are ignored; repeats change nothing, except a shorter grace.
  void Stop(const std::string& job, uint32_t attempt, absl::Duration grace);

  // Stops all ranks gently; later launches are refused with a report.
  void Drain();

  // At `deadline` (monotonic) the coordinator has been silent for too long: all ranks are stopped gently and launches refused until
  // a later renewal. Infinite before the first call.
  void RenewLease(absl::Duration deadline);

  // Ranks that were launched and whose end is not reported yet.
  std::vector<v1::RankRef> Running() const;

  // Until there are no such ranks; false after `timeout`.
  bool WaitUntilIdle(absl::Duration timeout);

  const SupervisorOptions& options() const { return options_; }

 private:
  struct NewestAttempt {
    uint32_t number = 0;
    std::set<uint32_t> ranks;  // launched here
  };

  void Post(std::function<void()> command);
  void Loop();
  void RunCommands();
  void CheckDeadlines();
  absl::Duration NextDeadline() const;
  void Poll();

  void StartRanks(const v1::Launch& launch, const std::vector<v1::Placement>& placements);
  absl::Status StartRank(const v1::Launch& launch, const v1::Placement& placement, const std::string& folder);
  void StopAll(absl::Duration grace);
  void ReportNotStarted(const RankKey& key, const absl::Status& why);
  void ReportEnd(const RankKey& key, v1::RankExited exited);
  void CountEnd(const v1::RankExited& exited);
  void UpdateMetrics();

  const SupervisorOptions options_;
  const Clock& clock_;
  DaemonMetrics* const metrics_;
  const ReportSink sink_;
  const std::function<void()> on_lease_expired_;
  Descriptor wake_;  // eventfd

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::vector<std::function<void()>> commands_;
  std::set<RankKey> running_;
  std::map<std::string, NewestAttempt> newest_;  // by job

  // Of the thread alone.
  std::map<RankKey, std::unique_ptr<Rank>> ranks_;
  bool draining_ = false;
  bool lease_expired_ = false;
  absl::Duration lease_deadline_ = absl::InfiniteDuration();
  bool quit_ = false;

  std::thread thread_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_SUPERVISOR_H_
