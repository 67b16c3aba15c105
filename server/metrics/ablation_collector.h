// Ablations on /metrics: those that go on and those that ended last. polymoe_ablation_* of docs/metrics.md; label ablation is the id.
#ifndef POLYMOE_SERVER_METRICS_ABLATION_COLLECTOR_H_
#define POLYMOE_SERVER_METRICS_ABLATION_COLLECTOR_H_

#include <cstddef>
#include <vector>

#include "server/metrics/view_collector.h"

namespace polymoe {

class AblationCollector final : public ViewCollector {
 public:
  explicit AblationCollector(size_t ended_kept) : ended_kept_(ended_kept) {}

 private:
  std::vector<prometheus::MetricFamily> FamiliesOf(const View& view) const override;

  const size_t ended_kept_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_ABLATION_COLLECTOR_H_
