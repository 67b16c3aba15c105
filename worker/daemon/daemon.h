// The worker daemon of one node, put together: supervisor (ranks), outbox (what they say), session (to the coordinator).
#ifndef POLYMOE_WORKER_DAEMON_DAEMON_H_
#define POLYMOE_WORKER_DAEMON_DAEMON_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "worker/daemon/report_queue.h"

namespace prometheus {
class Registry;
}

namespace polymoe {

class ActiveStream;
class DaemonMetrics;
class Outbox;
class Session;
class Supervisor;

struct DaemonOptions {
  std::string server;  // host:port of the coordinator
  std::string name;    // unique in the cluster
  std::string host;    // for people
  uint32_t slots = 1;
  uint32_t threads_per_slot = 1;
  std::string work_dir;
  std::string checkpoint_root;  // shared between workers; a folder or s3://BUCKET/PREFIX
  std::string trainer;          // path of polymoe-train
  std::string bind;             // address or interface where ranks meet; empty: the trainer's default
  absl::Duration stop_grace = absl::Seconds(30);
  ReportQueue::Limits reports;
};

class Daemon {
 public:
  // Makes the folders and starts the threads; a coordinator that cannot be reached is no error. `on_drain` is called when the
  // coordinator wants the daemon to end; the owner then calls Drain. `registry` outlives it.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const DaemonOptions& options, prometheus::Registry& registry,
                                                       std::function<void()> on_drain);
  ~Daemon();

  // Tells the coordinator, stops all ranks gently, delivers the reports. False when some could not be delivered within 10 s.
  bool Drain();

 private:
  Daemon() = default;

  absl::Duration stop_grace_;
  // In the order of use: destroyed from the last to the first.
  std::unique_ptr<DaemonMetrics> metrics_;
  std::unique_ptr<Outbox> outbox_;
  std::unique_ptr<ActiveStream> stream_;
  std::unique_ptr<Supervisor> supervisor_;
  std::unique_ptr<Session> session_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_DAEMON_H_
