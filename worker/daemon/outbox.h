// The report queue between the threads of a daemon: the supervisor adds, the session sends and acknowledges, the drain waits.
#ifndef POLYMOE_WORKER_DAEMON_OUTBOX_H_
#define POLYMOE_WORKER_DAEMON_OUTBOX_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/time/time.h"

#include "worker/daemon/report_queue.h"

namespace polymoe {

class DaemonMetrics;

// Thread-safe. `metrics` outlives it.
class Outbox {
 public:
  Outbox(const ReportQueue::Limits& limits, DaemonMetrics* metrics) : queue_(limits), metrics_(metrics) {}

  void Add(v1::Report report);
  void Acknowledge(uint64_t sequence);
  void Rewind();
  std::vector<v1::RankRef> UnacknowledgedExits() const;

  // Waits for the next unsent report. Null after `timeout`, or when Interrupt was called since the last call.
  std::shared_ptr<const v1::WorkerMessage> Next(absl::Duration timeout);
  void Interrupt();

  // Until every report is acknowledged; false after `timeout`.
  bool WaitUntilEmpty(absl::Duration timeout);

 private:
  void UpdateMetrics();  // with mutex_ held

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  ReportQueue queue_;
  ReportQueue::Dropped counted_;  // drops that the metrics have
  bool interrupted_ = false;
  DaemonMetrics* const metrics_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_OUTBOX_H_
