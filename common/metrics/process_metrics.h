// The process_* metrics of the Prometheus conventions, read from /proc at each scrape.
#ifndef POLYMOE_COMMON_METRICS_PROCESS_METRICS_H_
#define POLYMOE_COMMON_METRICS_PROCESS_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace polymoe {

class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace polymoe

#endif  // POLYMOE_COMMON_METRICS_PROCESS_METRICS_H_
