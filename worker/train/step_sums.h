// What the ranks add up once a step: one vector of doubles, to all of them.
#ifndef POLYMOE_WORKER_TRAIN_STEP_SUMS_H_
#define POLYMOE_WORKER_TRAIN_STEP_SUMS_H_

#include <algorithm>
#include <vector>

#include "absl/types/span.h"

#include "worker/model/model.h"

namespace polymoe {

class StepSums {
 public:
  enum Scalar {
    kCrossEntropy,  // over tokens, nats
    kLoadBalance,   // over micro-batches
    kZ,
    kSquares,      // of the gradients of owned rows
    kStop,         // ranks that were asked to stop
    kUnsaved,      // ranks whose part of a checkpoint is not written yet
    kSaveFailed,   // ranks that could not write theirs
    kBytesSent,    // to other ranks
    kBytesNeeded,  // the least that the layout could do with
    kScalars
  };

  // `experts` 0: dense.
  StepSums(int layers, int experts, int ranks)
      : layers_(layers), experts_(experts), ranks_(ranks), values_(kScalars + layers * (experts + 1) + 2 * ranks) {}

  void Clear() { std::fill(values_.begin(), values_.end(), 0); }
  double& operator[](Scalar scalar) { return values_[scalar]; }
  double operator[](Scalar scalar) const { return values_[scalar]; }

  // Routing of the latest micro-batch.
  void AddRouting(const RouterStats& stats) {
    for (size_t i = 0; i < stats.counts.size(); ++i) values_[kScalars + i] += stats.counts[i];
    for (size_t i = 0; i < stats.entropy.size(); ++i) values_[kScalars + layers_ * experts_ + i] += stats.entropy[i];
  }
  // Rows that were routed to each expert of a layer.
  absl::Span<const double> counts(int layer) const {
    return {&values_[kScalars + layer * experts_], static_cast<size_t>(experts_)};
  }
  // Of a layer's router, added over micro-batches.
  double entropy(int layer) const { return values_[kScalars + layers_ * experts_ + layer]; }

  // Of each rank: seconds of computing and of waiting for others.
  double& computing(int rank) { return values_[kScalars + layers_ * (experts_ + 1) + rank]; }
  double& waiting(int rank) { return values_[kScalars + layers_ * (experts_ + 1) + ranks_ + rank]; }
  absl::Span<const double> computing() const {
    return {&values_[kScalars + layers_ * (experts_ + 1)], static_cast<size_t>(ranks_)};
  }
  absl::Span<const double> waiting() const {
    return {&values_[kScalars + layers_ * (experts_ + 1) + ranks_], static_cast<size_t>(ranks_)};
  }

  absl::Span<double> values() { return absl::MakeSpan(values_); }

 private:
  const int layers_, experts_, ranks_;
  std::vector<double> values_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_STEP_SUMS_H_
