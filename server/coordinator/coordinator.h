// The one thread that changes the cluster. Everyone else hands it events; it applies a batch of them, lets leases expire and waiting
// jobs start, commits all of it in one store transaction, and only then publishes the new view, sends messages and answers calls.
#ifndef POLYMOE_SERVER_COORDINATOR_COORDINATOR_H_
#define POLYMOE_SERVER_COORDINATOR_COORDINATOR_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "server/state/cluster.h"
#include "server/state/view.h"

namespace polymoe {

class Clock;
class FleetMetrics;

// A worker's stream, as the coordinator needs it. Send never blocks; a link that is gone swallows.
class WorkerLink {
 public:
  virtual ~WorkerLink() = default;
  virtual void Send(const v1::CoordinatorMessage& message) = 0;
  // A newer stream of the same worker took over.
  virtual void Close() = 0;
};

class Coordinator {
 public:
  // Keeps references. `fatal` is called when the store failed: the process must end. Nothing is answered or sent from then on.
  Coordinator(const ClusterConfig& config, Store& store, const Clock& clock, FleetMetrics& metrics,
              std::function<void(absl::Status)> fatal);
  ~Coordinator();

  // Loads the jobs and ablations and starts the thread.
  absl::Status Start();
  // Ends it after the events that are queued. Workers go on.
  void Stop();

  // ---- from any thread; `done` is called on the coordinator's thread after the commit, or at once with RESOURCE_EXHAUSTED when too
  // many events wait.
  void Submit(const v1::SubmitRequest& request, const std::function<void(absl::StatusOr<v1::SubmitResponse>)>& done);
  void Cancel(const std::string& id, const std::function<void(absl::StatusOr<v1::Job>)>& done);
  void DrainWorker(const std::string& worker, const std::function<void(absl::Status)>& done);

  // As Cluster has them.
  using AblationDone = std::function<void(absl::StatusOr<v1::Ablation>)>;
  void SubmitAblation(const v1::SubmitAblationRequest& request,
                      const std::function<void(absl::StatusOr<v1::SubmitAblationResponse>)>& done);
  void PauseAblation(const std::string& id, const AblationDone& done);
  void ResumeAblation(const std::string& id, const AblationDone& done);
  void CancelAblation(const std::string& id, const AblationDone& done);
  void AddArm(const v1::AddArmRequest& request, const AblationDone& done);
  // Nobody waits for it. False when too many events wait, or after Stop.
  bool StopRun(const std::string& job, const std::string& why);

  // The first message of a stream, then the others, then its end. Messages of a link that was replaced are dropped.
  void Connect(const v1::Register& message, const std::shared_ptr<WorkerLink>& link);
  void Receive(const std::shared_ptr<WorkerLink>& link, const std::string& worker, const v1::WorkerMessage& message);
  void Disconnect(const std::shared_ptr<WorkerLink>& link, const std::string& worker);

  std::shared_ptr<const View> view() const;
  // Listeners are held weakly: they leave by being destroyed.
  void AddListener(std::weak_ptr<CommitListener> listener);
  Store& store() { return store_; }

 private:
  struct Event {
    std::function<void()> apply;      // to cluster_
    std::function<void()> committed;  // may be empty
  };
  // Unix time that never jumps: leases and backoffs must not follow a clock that is set.
  int64_t NowMs() const;
  bool Enqueue(Event event);
  void Loop();
  // Queues a change whose result `done` gets after the commit.
  template <class Result>
  void Ask(std::function<Result()> change, std::function<void(Result)> done);
  // A new id for a job or an ablation of that name.
  std::string MakeId(const std::string& name) const;
  // False when the store failed.
  bool Tick(const std::deque<Event>& events);
  absl::Status Commit(const Effects& effects);
  void Publish(Effects& effects);
  void ReportFleet(const View& view);

  Cluster cluster_;  // the coordinator's thread alone
  Store& store_;
  const Clock& clock_;
  const int64_t start_ms_;
  const absl::Duration start_monotonic_;
  FleetMetrics& metrics_;
  const std::function<void(absl::Status)> fatal_;
  std::map<std::string, std::shared_ptr<WorkerLink>> links_;  // the coordinator's thread alone

  std::mutex queue_mutex_;
  std::condition_variable queue_filled_;
  std::deque<Event> queue_;
  bool stopping_ = false;

  mutable std::mutex view_mutex_;
  std::shared_ptr<const View> view_ = std::make_shared<View>();
  std::vector<std::weak_ptr<CommitListener>> listeners_;

  std::thread thread_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_COORDINATOR_COORDINATOR_H_
