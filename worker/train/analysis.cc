#include "worker/train/analysis.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <numeric>

#include "polymoe/v1/job_spec.pb.h"

#include "common/status.h"
#include "worker/train/effective_rank.h"

namespace polymoe {
namespace {

constexpr uint64_t kTokens = 8192;
// Matrices of a rank between two meetings of all: enough for all its threads, few enough that a rank which is slower than the others
// does not let them wait for as long as spec.restart.stallSeconds.
constexpr int kRound = 64;

// The FFN's matrices of all layers and of the experts here, one after another.
class FfnMatrices {
 public:
  explicit FfnMatrices(const Model& model) : config_(model.config()), table_(model.table()) {}

  // Up, down and, when gated, gate.
  int kinds() const { return config_.activation.gated() ? 3 : 2; }
  int count() const { return config_.layers * kinds() * table_.shard().count; }
  // Place of a matrix, and of the first of a layer and kind, in [layers, kinds, experts] of all ranks.
  int place(int matrix) const {
    const int here = table_.shard().count;
    return first(matrix / here / kinds(), matrix / here % kinds()) + table_.shard().first + matrix % here;
  }
  int first(int layer, int kind) const { return (layer * kinds() + kind) * config_.experts; }

  template <class E>
  double Rank(const E* weights, int matrix) const {
    const int here = table_.shard().count, kind = matrix / here % kinds();
    const LayerOffsets& at = table_.layer(matrix / here / kinds());
    const int64_t expert = matrix % here, d = config_.hidden, f = config_.ffn;
    if (kind == 1) return EffectiveRank(weights + at.down + expert * d * f, d, f);
    const E* gate_and_up = weights + at.up + expert * config_.up_width() * d;  // gate first, where there is one
    return EffectiveRank(kind == 0 && config_.activation.gated() ? gate_and_up + f * d : gate_and_up, f, d);
  }

 private:
  const ModelConfig& config_;
  const ParameterTable& table_;
};

// Ranks that hold the same experts take their matrices in turn.
template <class E>
absl::Status AddRanks(const FfnMatrices& matrices, const E* weights, Ranks& ranks, const std::function<void()>& alive,
                      std::vector<double>& values) {
  const int step = ranks.replicas->size(), mine = ranks.replicas->rank();
  std::atomic<bool> failed = false;
  for (int begin = 0; begin < matrices.count(); begin += kRound * step) {
    const int end = std::min(matrices.count(), begin + kRound * step);
#pragma omp parallel for schedule(dynamic, 1)
    for (int matrix = begin + mine; matrix < end; matrix += step) {
      try {
        values[matrices.place(matrix)] = matrices.Rank(weights, matrix);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      if (omp_get_thread_num() == 0) alive();
    }
    if (failed) return absl::ResourceExhaustedError("not enough memory for spec.metrics.analyses.effectiveRank; set it to false");
    POLYMOE_RETURN_IF_ERROR(ranks.world->Barrier());
  }
  return ranks.world->AllReduceSum(absl::MakeSpan(values));  // each place has one rank's value and zeros
}

absl::Status AddEffectiveRanks(Model& model, const float* parameters, Ranks& ranks, const std::function<void()>& alive,
                               std::vector<LayerAnalysis>& layers) {
  const FfnMatrices matrices(model);
  const int experts = model.config().experts;
  std::vector<double> values(matrices.first(model.config().layers, 0));
  POLYMOE_RETURN_IF_ERROR(model.rounded() == nullptr ? AddRanks(matrices, parameters, ranks, alive, values)
                                                     : AddRanks(matrices, model.rounded(), ranks, alive, values));
  const auto mean = [&](int layer, int kind) {
    const auto first = values.begin() + matrices.first(layer, kind);
    return std::accumulate(first, first + experts, 0.0) / experts;
  };
  for (int layer = 0; layer < model.config().layers; ++layer) {
    layers[layer].up_rank = mean(layer, 0);
    layers[layer].down_rank = mean(layer, 1);
    if (matrices.kinds() == 3) layers[layer].gate_rank = mean(layer, 2);
  }
  return absl::OkStatus();
}

}  // namespace

bool WantsAnalyses(const v1::AnalysisSpec& spec) {
  return spec.effective_rank() || spec.layer_cosine() || spec.activation_moments();
}

Windows ToAnalyse(const Windows& windows, uint32_t length) {
  return {windows.dataset, std::min(windows.count, std::max<uint64_t>(1, kTokens / length)), windows.stride};
}

absl::StatusOr<std::vector<LayerAnalysis>> Analyse(const v1::AnalysisSpec& spec, const Windows& windows, Model& model,
                                                   const float* parameters, Ranks& ranks, const BatchBuffers& buffers,
                                                   const std::function<void()>& alive) {
  const ModelConfig& config = model.config();
  std::vector<LayerAnalysis> layers(config.layers);
  if (spec.effective_rank()) POLYMOE_RETURN_IF_ERROR(AddEffectiveRanks(model, parameters, ranks, alive, layers));
  if (!spec.layer_cosine() && !spec.activation_moments()) return layers;
  LayerStatistics statistics(config, {.cosine = spec.layer_cosine(), .moments = spec.activation_moments()}, *ranks.world);
  POLYMOE_RETURN_IF_ERROR(ValidationLoss(windows, model, parameters, *ranks.world, buffers, alive, &statistics).status());
  POLYMOE_RETURN_IF_ERROR(statistics.Reduce());
  for (int layer = 0; layer < config.layers; ++layer) {
    for (int before = 0; spec.layer_cosine() && before < layer; ++before) {
      layers[layer].cosines.push_back(statistics.Cosine(before, layer));
    }
    if (spec.activation_moments()) layers[layer].moments = statistics.Moments(layer);
  }
  return layers;
}

}  // namespace polymoe
