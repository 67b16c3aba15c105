// The metrics of a worker daemon, made once on the registry of its exposer. All members are thread-safe.
#ifndef POLYMOE_WORKER_DAEMON_DAEMON_METRICS_H_
#define POLYMOE_WORKER_DAEMON_DAEMON_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

namespace polymoe {

class DaemonMetrics {
 public:
  // `registry` outlives it.
  explicit DaemonMetrics(prometheus::Registry& registry);

 private:
  prometheus::Family<prometheus::Gauge>& slots_;
  prometheus::Family<prometheus::Counter>& dropped_;
  prometheus::Family<prometheus::Counter>& exits_;

 public:
  prometheus::Gauge& slots_free;
  prometheus::Gauge& slots_busy;
  prometheus::Gauge& ranks_running;
  prometheus::Gauge& reports_waiting;  // not acknowledged by the coordinator
  prometheus::Gauge& reports_waiting_bytes;
  prometheus::Counter& log_lines_dropped;
  prometheus::Counter& points_dropped;
  prometheus::Gauge& connected;     // 1 while a session is registered
  prometheus::Counter& reconnects;  // sessions registered after the first
  prometheus::Counter& lease_expirations;
  // Trainers by how they ended.
  prometheus::Counter& exits_ok;
  prometheus::Counter& exits_failed;   // exit code other than 0
  prometheus::Counter& exits_killed;   // by a signal that was not ours
  prometheus::Counter& exits_stopped;  // because they were told to
  prometheus::Counter& exits_stalled;  // killed because they made no progress
  prometheus::Counter& exits_not_started;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_DAEMON_METRICS_H_
