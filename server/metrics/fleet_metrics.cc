#include "server/metrics/fleet_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "polymoe/v1/job.pb.h"

#include "common/spec/names.h"

namespace polymoe {
namespace {

const prometheus::Histogram::BucketBoundaries& Buckets() {
  static const auto& buckets = *new prometheus::Histogram::BucketBoundaries{1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5, 30};
  return buckets;
}

prometheus::Family<prometheus::Gauge>& Gauges(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

}  // namespace

FleetMetrics::FleetMetrics(prometheus::Registry& registry)
    : jobs_(Gauges(registry, "polymoe_jobs", "Jobs by state.")),
      workers_(Gauges(registry, "polymoe_workers", "Workers by state.")),
      slots_free_(Gauges(registry, "polymoe_slots", "Slots of the connected workers.").Add({{"state", "free"}})),
      slots_busy_(Gauges(registry, "polymoe_slots", "Slots of the connected workers.").Add({{"state", "busy"}})),
      queue_oldest_(Gauges(registry, "polymoe_queue_oldest_timestamp_seconds",
                           "Unix time since when the job that waits longest has waited, held ones aside; 0 when none waits.")
                        .Add({})),
      pass_(prometheus::BuildHistogram()
                .Name("polymoe_scheduler_pass_duration_seconds")
                .Help("Duration of one scheduling pass.")
                .Register(registry)
                .Add({}, Buckets())),
      rpc_duration_(prometheus::BuildHistogram()
                        .Name("polymoe_rpc_duration_seconds")
                        .Help("Duration of a finished call; of a stream when it ends.")
                        .Register(registry)),
      rpc_count_(
          prometheus::BuildCounter().Name("polymoe_rpc_requests_total").Help("Finished calls by outcome.").Register(registry)),
      attempt_ends_(
          prometheus::BuildCounter().Name("polymoe_attempt_ends_total").Help("Ended attempts by reason.").Register(registry)) {
  // From 0, so that an increase() sees the first one.
  for (int r = v1::END_REASON_COMPLETED; r <= v1::EndReason_MAX; ++r) {
    attempt_ends_.Add({{"reason", EnumName(v1::EndReason_Name(static_cast<v1::EndReason>(r)), "END_REASON_")}});
  }
}

void FleetMetrics::SetFleet(const Fleet& fleet) {
  for (const auto& [state, count] : fleet.jobs) jobs_.Add({{"state", state}}).Set(count);
  for (const auto& [state, count] : fleet.workers) workers_.Add({{"state", state}}).Set(count);
  slots_free_.Set(fleet.slots_total - fleet.slots_busy);
  slots_busy_.Set(fleet.slots_busy);
  queue_oldest_.Set(static_cast<double>(fleet.oldest_waiting_ms) / 1000.0);
}

void FleetMetrics::ObservePass(absl::Duration duration) {
  pass_.Observe(absl::ToDoubleSeconds(duration));
}

void FleetMetrics::ObserveRpc(const std::string& method, absl::string_view code, absl::Duration duration) {
  rpc_duration_.Add({{"method", method}}, Buckets()).Observe(absl::ToDoubleSeconds(duration));
  rpc_count_.Add({{"method", method}, {"code", std::string(code)}}).Increment();
}

void FleetMetrics::CountAttemptEnd(const std::string& reason) {
  attempt_ends_.Add({{"reason", reason}}).Increment();
}

}  // namespace polymoe
