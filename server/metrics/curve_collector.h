// The curves of runs on the token grid, for Prometheus: one gauge a milestone, as a histogram has one a bucket, so that one instant query
// gives a whole curve and runs compare at equal tokens whenever they trained.
//
//   polymoe_curve_loss{run,ablation,arm,activation,seed,split,domain,tokens}   split="train": domain="train"; split="val": domain=SET
//   polymoe_curve_bpb{...}                                                     split="val"
//
// Of every run that has trained and has not ended, and of those that ended last. A milestone without a value has no series.
#ifndef POLYMOE_SERVER_METRICS_CURVE_COLLECTOR_H_
#define POLYMOE_SERVER_METRICS_CURVE_COLLECTOR_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "server/curves/curve_book.h"
#include "server/metrics/view_collector.h"

namespace polymoe {

class CurveCollector final : public ViewCollector {
 public:
  // CurveBook::Get.
  using Curves = std::function<absl::StatusOr<std::shared_ptr<const JobCurves>>(const v1::Job&)>;

  CurveCollector(Curves curves, size_t ended_runs_kept) : curves_(std::move(curves)), ended_runs_kept_(ended_runs_kept) {}

 private:
  // A run whose curves cannot be read is left out, and logged.
  std::vector<prometheus::MetricFamily> FamiliesOf(const View& view) const override;

  const Curves curves_;
  const size_t ended_runs_kept_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_CURVE_COLLECTOR_H_
