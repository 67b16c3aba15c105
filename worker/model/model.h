// The decoder: forward and backward of one micro-batch, by hand, on an operation table. Knows no ranks, no files and no optimiser.
//
//   Model model(config, CpuOps(), /*max_sequences=*/8, /*sequence_length=*/256);
//   StepLosses losses = model.ForwardBackward(parameters, tokens, targets, 8, scale, gradients);
//
// Not thread-safe; the operations inside use all OpenMP threads. All memory is taken in the constructor.
#ifndef POLYMOE_WORKER_MODEL_MODEL_H_
#define POLYMOE_WORKER_MODEL_MODEL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/ops.h"
#include "worker/model/config.h"
#include "worker/model/parameters.h"

namespace polymoe {

// Sums over one micro-batch; the caller divides.
struct MicroBatchLosses {
  double cross_entropy = 0;  // sum over tokens, nats
  double load_balance = 0;   // mean over layers of E/(N K) * sum_e counts_e * mean prob_e: 1 when balanced (unweighted)
  double z = 0;              // mean over layers of mean lse^2 (unweighted)
};

// Router statistics of the latest forward pass, one entry a layer (empty when dense).
struct RouterStats {
  std::vector<int32_t> counts;  // [layers, E] routed rows
  std::vector<float> entropy;   // [layers] mean over tokens of the entropy of the router's distribution, nats
};

class Model {
 public:
  Model(const ModelConfig& config, const Ops& ops, int max_sequences, int sequence_length);
  ~Model();

  const ModelConfig& config() const;
  const ParameterTable& table() const;

  // tokens, targets: [sequences, T]. Adds to `gradients` the gradient of
  //   scale * (sum over tokens of cross entropy + N * (load_balance_loss * load_balance + z_loss * z))
  // so that scale = 1 / (tokens of the global batch) gives the mean loss of the batch however it is split. Of the load balance,
  // which couples the tokens of one micro-batch, it gives the mean over micro-batches (as OLMoE's trainer): that depends on the
  // split.
  MicroBatchLosses ForwardBackward(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                                   float scale, float* gradients);

  // Loss alone. `token_losses` [sequences, T] may be null.
  MicroBatchLosses Evaluate(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                            float* token_losses = nullptr);

  // Computed when asked.
  RouterStats router_stats() const;
  // Bytes of activations and scratch held.
  int64_t memory_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_MODEL_H_
