// The looks inside the model that spec.metrics.analyses asks for, between two steps. They read the model and change nothing of training:
// the same losses come to the bit with and without them. All is the same at every layout of ranks: effective ranks to the bit for the
// same weights, the rest to the rounding of the model's pass.
#ifndef POLYMOE_WORKER_TRAIN_ANALYSIS_H_
#define POLYMOE_WORKER_TRAIN_ANALYSIS_H_

#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "worker/model/model.h"
#include "worker/parallel/layout.h"
#include "worker/train/layer_statistics.h"
#include "worker/train/validation.h"

namespace polymoe {

namespace v1 {
class AnalysisSpec;
}

// Of one layer; what was not asked for is not there.
struct LayerAnalysis {
  // Effective rank (effective_rank.h) of the FFN's matrices, the mean over the layer's experts. Gate: of a gated activation.
  std::optional<double> up_rank, gate_rank, down_rank;
  std::vector<double> cosines;  // [layer] of the states behind this layer and each layer before it, layer_statistics.h
  std::optional<ActivationMoments> moments;
};

bool WantsAnalyses(const v1::AnalysisSpec& spec);

// Those of `windows` that an analysis reads: the first, as many as make 8192 tokens.
Windows ToAnalyse(const Windows& windows, uint32_t length);

// [layers], on every rank of `ranks.world`, all of which call it. The weights are those that products read: in bf16 the rounded ones. The
// matrices are shared over the ranks that hold them and their threads, in rounds, so that no rank waits long for another; `alive` is
// called, by the caller's thread, behind each. RESOURCE_EXHAUSTED without memory for a round.
absl::StatusOr<std::vector<LayerAnalysis>> Analyse(const v1::AnalysisSpec& spec, const Windows& windows, Model& model,
                                                   const float* parameters, Ranks& ranks, const BatchBuffers& buffers,
                                                   const std::function<void()>& alive);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_ANALYSIS_H_
