// What an evaluation shows of its layers, added up over micro-batches and ranks: how alike the hidden states of two layers are, and the
// moments of the values behind the activation. Sums are in double and in a fixed partition: the number of threads changes no bit.
#ifndef POLYMOE_WORKER_TRAIN_LAYER_STATISTICS_H_
#define POLYMOE_WORKER_TRAIN_LAYER_STATISTICS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "worker/model/config.h"
#include "worker/model/observer.h"
#include "worker/parallel/group.h"

namespace polymoe {

struct ActivationMoments {
  double mean = 0, std = 0, abs_max = 0;
  double zero_share = 0;  // of values that are exactly 0
};

class LayerStatistics final : public LayerObserver {
 public:
  struct What {
    bool cosine = false, moments = false;
  };
  // `world` is kept: every rank of it makes one.
  LayerStatistics(const ModelConfig& config, const What& what, Group& world);

  void Activation(int layer, int64_t rows, const float* values) override;
  void Activation(int layer, int64_t rows, const BF16* values) override;
  void Hidden(int layer, int tokens, const float* states) override;

  // Adds up what the ranks were shown, once, before the answers below.
  absl::Status Reduce();

  // Mean over tokens of the cosine similarity of the states behind layers i < j; of a state of zeros 0.
  double Cosine(int i, int j) const { return sums_[Pair(i, j)] / sums_[kTokens]; }
  ActivationMoments Moments(int layer) const;

 private:
  // In sums_: the tokens, four sums a layer, the largest magnitude a layer and rank, and a sum a pair of layers.
  enum { kTokens, kCount = 1, kSum, kSquares, kZeros };
  size_t Sum(int layer, int what) const { return 4 * layer + what; }
  size_t AbsMax(int layer, int rank) const { return 1 + 4 * config_.layers + layer * world_.size() + rank; }
  size_t Pair(int i, int j) const { return AbsMax(config_.layers, 0) + j * (j - 1) / 2 + i; }

  template <class E>
  void AddActivation(int layer, int64_t rows, const E* values);

  const ModelConfig& config_;
  const What what_;
  Group& world_;
  std::vector<const float*> states_;  // of the layers so far, in this pass
  std::vector<double> sums_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_LAYER_STATISTICS_H_
