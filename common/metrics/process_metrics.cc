#include "common/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "common/file.h"

namespace polymoe {
namespace {

prometheus::MetricFamily Family(const char* name, const char* help, prometheus::MetricType type, double value) {
  prometheus::ClientMetric metric;
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, help, type, {metric}};
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    const auto seconds = [](const timeval& t) { return t.tv_sec + t.tv_usec * 1e-6; };
    families.push_back(Family("process_cpu_seconds_total", "User and system CPU time spent.", prometheus::MetricType::Counter,
                              seconds(usage.ru_utime) + seconds(usage.ru_stime)));
  }
  if (const auto statm = ReadFile("/proc/self/statm"); statm.ok()) {
    unsigned long virtual_pages = 0, resident_pages = 0;
    if (std::sscanf(statm->c_str(), "%lu %lu", &virtual_pages, &resident_pages) == 2) {
      const double page = sysconf(_SC_PAGESIZE);
      families.push_back(
          Family("process_virtual_memory_bytes", "Virtual memory size.", prometheus::MetricType::Gauge, virtual_pages * page));
      families.push_back(
          Family("process_resident_memory_bytes", "Resident memory size.", prometheus::MetricType::Gauge, resident_pages * page));
    }
  }
  if (const auto open = ListDirectory("/proc/self/fd"); open.ok()) {
    families.push_back(Family("process_open_fds", "Open file descriptors.", prometheus::MetricType::Gauge, open->size()));
  }
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    families.push_back(
        Family("process_max_fds", "Largest number of open file descriptors.", prometheus::MetricType::Gauge, limit.rlim_cur));
  }
  return families;
}

}  // namespace polymoe
