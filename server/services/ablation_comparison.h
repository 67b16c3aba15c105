// The figures of an ablation: arms at equal tokens over their seeds, and what may be said about their differences.
#ifndef POLYMOE_SERVER_SERVICES_ABLATION_COMPARISON_H_
#define POLYMOE_SERVER_SERVICES_ABLATION_COMPARISON_H_

#include "absl/status/statusor.h"

#include "polymoe/v1/metric.pb.h"

#include "server/curves/curve_book.h"
#include "server/state/view.h"

namespace polymoe {

// As metric.proto promises. NOT_FOUND, or INVALID_ARGUMENT for a grid or metric that is not there.
absl::StatusOr<v1::AblationComparison> CompareAblation(CurveBook& book, const View& view,
                                                       const v1::CompareAblationRequest& request);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_ABLATION_COMPARISON_H_
