// The Prometheus view of the coordinator itself: jobs and workers by state, slots, the queue, scheduler passes, RPCs. Thread-safe.
#ifndef POLYMOE_SERVER_METRICS_FLEET_METRICS_H_
#define POLYMOE_SERVER_METRICS_FLEET_METRICS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace prometheus {
template <typename T>
class Family;
class Counter;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

namespace polymoe {

class FleetMetrics {
 public:
  explicit FleetMetrics(prometheus::Registry& registry);

  struct Fleet {
    std::map<std::string, int> jobs;      // by state: "pending", ...
    std::map<std::string, int> workers;   // "connected", "disconnected", "draining"
    int slots_total = 0, slots_busy = 0;  // of connected workers
    int64_t oldest_waiting_ms = 0;        // Unix time since when the job that waits longest has waited; 0: none waits
  };
  void SetFleet(const Fleet& fleet);

  // One scheduling pass.
  void ObservePass(absl::Duration duration);
  // One finished call; a stream when it ends. `method` as "JobService/Submit", `code` as "OK".
  void ObserveRpc(const std::string& method, absl::string_view code, absl::Duration duration);
  // A failed attempt that will be retried or not, by its reason: "worker_lost", ...
  void CountAttemptEnd(const std::string& reason);

 private:
  prometheus::Family<prometheus::Gauge>& jobs_;
  prometheus::Family<prometheus::Gauge>& workers_;
  prometheus::Gauge& slots_free_;
  prometheus::Gauge& slots_busy_;
  prometheus::Gauge& queue_oldest_;
  prometheus::Histogram& pass_;
  prometheus::Family<prometheus::Histogram>& rpc_duration_;
  prometheus::Family<prometheus::Counter>& rpc_count_;
  prometheus::Family<prometheus::Counter>& attempt_ends_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_FLEET_METRICS_H_
