#include "worker/daemon/daemon_metrics.h"

namespace polymoe {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Registry;

Family<Gauge>& GaugeFamily(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

Family<Counter>& CounterFamily(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

}  // namespace

DaemonMetrics::DaemonMetrics(Registry& registry)
    : slots_(GaugeFamily(registry, "polymoe_worker_slots", "Slots of this worker by state; a slot holds one rank.")),
      dropped_(CounterFamily(registry, "polymoe_worker_reports_dropped_total",
                             "Reports given up because too many waited for the coordinator.")),
      exits_(CounterFamily(registry, "polymoe_worker_trainer_exits_total", "Trainer processes that ended, by how.")),
      slots_free(slots_.Add({{"state", "free"}})),
      slots_busy(slots_.Add({{"state", "busy"}})),
      ranks_running(GaugeFamily(registry, "polymoe_worker_ranks_running", "Trainer processes that run.").Add({})),
      reports_waiting(
          GaugeFamily(registry, "polymoe_worker_reports_waiting", "Reports that the coordinator has not acknowledged.").Add({})),
      reports_waiting_bytes(
          GaugeFamily(registry, "polymoe_worker_reports_waiting_bytes", "Size of the reports that wait.").Add({})),
      log_lines_dropped(dropped_.Add({{"kind", "log"}})),
      points_dropped(dropped_.Add({{"kind", "points"}})),
      connected(GaugeFamily(registry, "polymoe_worker_connected", "1 while registered with the coordinator, else 0.").Add({})),
      reconnects(CounterFamily(registry, "polymoe_worker_reconnects_total", "Registrations with the coordinator after the first.")
                     .Add({})),
      lease_expirations(CounterFamily(registry, "polymoe_worker_lease_expirations_total",
                                      "Times that the coordinator was silent for a whole lease, so that all ranks were stopped.")
                            .Add({})),
      exits_ok(exits_.Add({{"kind", "ok"}})),
      exits_failed(exits_.Add({{"kind", "failed"}})),
      exits_killed(exits_.Add({{"kind", "killed"}})),
      exits_stopped(exits_.Add({{"kind", "stopped"}})),
      exits_stalled(exits_.Add({{"kind", "stalled"}})),
      exits_not_started(exits_.Add({{"kind", "not_started"}})) {}

}  // namespace polymoe
