// The coordinator's state and every change that it can go through. Pure: no I/O, no clock (`now_ms` is passed in), no randomness; one
// thread. What a change means for others collects in Effects, which the coordinator commits and then sends.
//
// What must survive a restart is in the jobs (v1::Job) and ablations (v1::Ablation); workers are known again once they register.
//
// Why an attempt that is broken does not wait for ranks on a worker whose stream broke, though they may still run there (a zombie):
// the number of the attempt keeps them harmless. Ranks that lost a peer train no further; what they report is refused once a newer
// attempt lives; checkpoints that are not committed carry the attempt; a worker that comes back names them, is told to stop them, and
// gets nothing new in their slots before they have ended. An attempt that is not broken goes on without the coordinator, up to the
// lease: then the daemon has stopped its ranks before the worker counts as lost.
#ifndef POLYMOE_SERVER_STATE_CLUSTER_H_
#define POLYMOE_SERVER_STATE_CLUSTER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job.pb.h"
#include "polymoe/v1/worker.pb.h"

#include "server/scheduler/schedule.h"
#include "server/store/store.h"

namespace polymoe {

struct ClusterConfig {
  int64_t lease_ms = 3'000;  // docs/architecture.md says why
  int64_t heartbeat_ms = 500;
  int64_t start_timeout_ms = 120'000;
  int64_t stop_grace_ms = 30'000;  // for ranks that save a checkpoint before they end
  int64_t broken_grace_ms = 500;   // for those of a broken attempt, which have nothing to save
  SchedulerConfig scheduler;
};

struct WorkerState {
  std::string instance, host, version;
  std::vector<v1::Slot> slots;
  bool connected = false;     // has a stream
  bool stream_broke = false;  // had one with this coordinator, and has none now
  bool draining = false;
  int64_t last_seen_ms = 0;  // lost at last_seen_ms + lease
  // Slots of ranks that the jobs count as ended and that may still run there, by (job, attempt, rank).
  std::map<std::tuple<std::string, uint32_t, uint32_t>, uint32_t> zombies;
};

// What the changes since the last Take() lead to.
struct Effects {
  std::set<std::string> jobs;  // changed
  std::set<std::string> ablations;
  std::vector<PointRow> points;  // to store
  std::vector<LogRow> logs;
  std::vector<std::pair<std::string, v1::CoordinatorMessage>> messages;  // worker, message; after the commit
  std::vector<v1::EndReason> attempt_ends;
};

struct PlannedRun;

// A new id for a job or an ablation of that name; nothing else has it.
using NewId = std::function<std::string(const std::string& name)>;

class Cluster {
 public:
  explicit Cluster(const ClusterConfig& config) : config_(config) {}

  // A job from the store, at start. Its workers get one lease from `now_ms` to come back.
  void Restore(v1::Job job, const std::string& request_id, int64_t now_ms);

  // `id` is used if the request is new; no job has it. ALREADY_EXISTS for a known request id with another file.
  absl::StatusOr<v1::SubmitResponse> Submit(const v1::SubmitRequest& request, const std::string& id, int64_t now_ms);
  absl::StatusOr<v1::Job> Cancel(const std::string& id, int64_t now_ms);

  // ---- ablations (ablations.cc). Their runs are jobs that are held, not given to the scheduler, until a tick releases them: in their
  // order, and no more than budget.parallelSlots allows at a time.

  // After the jobs of its runs. DATA_LOSS when one is missing.
  absl::Status RestoreAblation(v1::Ablation ablation, const std::string& request_id);
  // The file is complete. ALREADY_EXISTS for a known request id with another file.
  absl::StatusOr<v1::SubmitAblationResponse> SubmitAblation(const v1::SubmitAblationRequest& request, const NewId& new_id,
                                                            int64_t now_ms);
  // Runs that have slots save a checkpoint and give them back, charged to no budget. FAILED_PRECONDITION when it is over.
  absl::StatusOr<v1::Ablation> PauseAblation(const std::string& id);
  absl::StatusOr<v1::Ablation> ResumeAblation(const std::string& id);
  absl::StatusOr<v1::Ablation> CancelAblation(const std::string& id, int64_t now_ms);
  // Runs of the new arm come behind the others; an ablation that was over is active again.
  absl::StatusOr<v1::Ablation> AddArm(const v1::AddArmRequest& request, const NewId& new_id, int64_t now_ms);
  // Cancels a run for a stop rule, `why` in one sentence; it counts as ended as it should. Nothing if it has ended or is ending.
  void StopRun(const std::string& job, const std::string& why, int64_t now_ms);

  // A worker's stream opened; answers Registered.
  void Register(const v1::Register& message, int64_t now_ms);
  void Disconnect(const std::string& worker);
  void Heartbeat(const std::string& worker, uint64_t sequence, int64_t now_ms);
  void HandleReport(const std::string& worker, const v1::Report& report, int64_t now_ms);
  void SetDraining(const std::string& worker);
  // NOT_FOUND for a worker that is not known. Tells it to drain.
  absl::Status Drain(const std::string& worker);

  // Ends what has run out: leases, start timeouts, ranks of broken attempts that nobody can reach. Then ends ablations whose runs are
  // over, releases runs of the others, places waiting jobs, and stops an elastic job that has just saved a checkpoint if it can go on
  // with more ranks.
  void Tick(int64_t now_ms);

  Effects Take() { return std::exchange(effects_, {}); }

  const std::map<std::string, v1::Job>& jobs() const { return jobs_; }
  const std::map<std::string, v1::Ablation>& ablations() const { return ablations_; }
  const std::map<std::string, WorkerState>& workers() const { return workers_; }
  const std::string& request_id(const std::string& job) const { return request_ids_.at(job); }
  const std::string& ablation_request_id(const std::string& ablation) const { return ablation_request_ids_.at(ablation); }

  // Slots of a worker that hold a rank which has not ended, zombies included.
  std::set<uint32_t> BusySlots(const std::string& worker) const;

 private:
  v1::Attempt* Live(v1::Job& job);  // newest attempt if it has not ended
  void Changed(v1::Job& job);
  void Changed(v1::Ablation& ablation);
  v1::Job& AddJob(const std::string& id, const v1::JobFile& file, const std::string& request_id, int64_t now_ms);
  absl::StatusOr<v1::Ablation*> FindAblation(const std::string& id);
  // Nothing for a job of its own.
  const v1::AblationRun* RunOf(const v1::Job& job) const;
  void AddRun(v1::Ablation& ablation, const PlannedRun& planned, const NewId& new_id, int64_t now_ms);
  std::string WhyCancelled(const v1::Job& job) const;
  void FinishIfOver(v1::Ablation& ablation, int64_t now_ms);
  void TickAblations(int64_t now_ms);
  void ReleaseRuns(v1::Ablation& ablation);
  void ShowHeldRuns(const v1::Ablation& ablation);
  void Send(const std::string& worker, v1::CoordinatorMessage message);
  void SendDrain(const std::string& worker);
  void StoreReport(const v1::Report& report);
  void OnPoints(v1::Job& job, const v1::StepPoints& points);
  void OnStarted(v1::Job& job, v1::Attempt& attempt, uint32_t rank, const v1::TrainerStarted& started);
  void OnExited(v1::Job& job, v1::Attempt& attempt, uint32_t rank, const v1::RankExited& exited, int64_t now_ms);
  // Tells the ranks to end, each with a checkpoint. The first reason stays.
  void StopAttempt(v1::Job& job, v1::Attempt& attempt, v1::EndReason reason, const std::string& message);
  // Ends them soon, for the attempt cannot train any more. Without a reason (UNSPECIFIED: a rank lost another) the next one counts.
  void BreakAttempt(v1::Job& job, v1::Attempt& attempt, v1::EndReason reason, const std::string& message);
  static void SetReason(v1::Job& job, v1::Attempt& attempt, v1::EndReason reason, const std::string& message);
  void SendStops(const v1::Job& job, const v1::Attempt& attempt);
  v1::CoordinatorMessage StopMessage(const std::string& job, uint32_t attempt, bool broken) const;
  void EndRank(v1::Job& job, v1::Attempt& attempt, uint32_t rank, int64_t now_ms);
  void EndAttempt(v1::Job& job, v1::Attempt& attempt, int64_t now_ms);
  void Retry(v1::Job& job, const v1::Attempt& attempt, int64_t now_ms);
  void AwaitRetry(v1::Job& job, const v1::Attempt& attempt, int64_t until_ms);
  void Finish(v1::Job& job, v1::JobState state, const std::string& message, int64_t now_ms);
  // Ranks on `worker` that fail `keep` are gone with it.
  void LoseRanks(const std::string& worker, const std::string& why, int64_t now_ms,
                 const std::function<bool(const v1::Attempt&, const v1::Placement&)>& keep);
  // Ranks of broken attempts on workers whose stream broke.
  void LoseUnreachableRanks(int64_t now_ms);
  void StopRanksThatAreOver(const v1::Register& message);
  SchedulerInput SchedulerView() const;
  void ShowWaits(const std::vector<Wait>& waits);
  // Elastic jobs that have saved a checkpoint since the last tick. At most one goes on with more ranks at a time, and none while a job
  // waits for slots.
  void GrowJobs(const std::vector<Wait>& waits);
  bool MayGrow(const v1::Job& job) const;
  void Launch(v1::Job& job, const Start& start, int64_t now_ms);
  v1::CoordinatorMessage LaunchMessage(const v1::Job& job, const v1::Attempt& attempt, const std::string& worker) const;
  // Ranks that a daemon should run and knows nothing of: their launch was lost with the old stream, or with the coordinator between
  // commit and send. It is sent again (a daemon starts a rank at most once an attempt), or, once the attempt is to stop, it is over
  // for them.
  void SettleMissingRanks(const v1::Register& message, int64_t now_ms);

  const ClusterConfig config_;
  std::map<std::string, v1::Job> jobs_;
  std::map<std::string, std::string> request_ids_;  // by job
  std::map<std::string, std::string> by_request_;   // job by request id
  std::map<std::string, v1::Ablation> ablations_;
  std::map<std::string, std::string> ablation_request_ids_, ablation_by_request_;
  std::map<std::string, size_t> run_places_;  // by job of a run: where it stands in the runs of its ablation
  std::map<std::string, WorkerState> workers_;
  std::set<std::string> saved_;  // jobs with a new checkpoint since the last tick
  Effects effects_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_STATE_CLUSTER_H_
