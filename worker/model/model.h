// The decoder: forward and backward of one micro-batch, by hand, on an operation table. Knows no ranks, no files and no optimiser.
//
//   Model model(config, CpuOps<BF16>(), {.max_sequences = 8, .sequence_length = 256});
//   model.Round(parameters);
//   MicroBatchLosses losses = model.ForwardBackward(parameters, tokens, targets, 8, scale, gradients, /*accumulate=*/false);
//   optimizer.Step(..., gradients, parameters, model.rounded());
//
// Precision. The table's element type is the model's. `parameters` and `gradients` are fp32 buffers of the caller in either, laid out
// by table(). With BF16 matrix products read a rounded copy of the parameters, which the model holds in the same layout: whoever
// changes parameters keeps it up to date, an optimiser in its own pass through rounded(), everybody else with Round(). Norm weights,
// activation coefficients and the embedding are read from `parameters` itself.
//
// Memory. All of it is taken in the constructor, which throws std::bad_alloc; nothing is allocated later.
//
// Not thread-safe; the operations inside use all OpenMP threads.
#ifndef POLYMOE_WORKER_MODEL_MODEL_H_
#define POLYMOE_WORKER_MODEL_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/ops.h"
#include "worker/model/config.h"
#include "worker/model/parameters.h"

namespace polymoe {

// Told during a backward pass.
using StageDone = std::function<void(int stage)>;

struct ModelLimits {
  int max_sequences = 1;  // of a micro-batch
  int sequence_length = 1;
  // Keep only the input of each layer, and compute the layer again, with the same bits, before its backward pass.
  bool recompute = false;
  // Chunks that the tokens of a micro-batch travel to other ranks in, at most 4: one is on its way while another is computed.
  int chunks = 2;
};

// Sums over one micro-batch; the caller divides.
struct MicroBatchLosses {
  double cross_entropy = 0;  // sum over tokens, nats
  double load_balance = 0;   // mean over layers and groups of E/(n K) * sum_e counts_e * mean prob_e: 1 when balanced (unweighted)
  double z = 0;              // mean over layers of mean lse^2 (unweighted)
};

// Router statistics of the latest forward pass, one entry a layer (empty when dense).
struct RouterStats {
  std::vector<int32_t> counts;  // [layers, E] routed rows
  std::vector<float> entropy;   // [layers] mean over tokens of the entropy of the router's distribution, nats
  int64_t rows_away = 0;        // of all layers: tokens x other ranks that they went to
};

class Decoder;
class ExpertExchange;
class LayerObserver;

class Model {
 public:
  // With `exchange` (null: alone), which outlives it, the model has its rank's experts only, and every pass is one of all its ranks.
  Model(const ModelConfig& config, const Ops<float>& ops, const ModelLimits& limits, ExpertExchange* exchange = nullptr);
  Model(const ModelConfig& config, const Ops<BF16>& ops, const ModelLimits& limits, ExpertExchange* exchange = nullptr);
  ~Model();

  const ModelConfig& config() const { return config_; }
  const ParameterTable& table() const { return table_; }

  // tokens, targets: [sequences, T], sequences from 0 to max_sequences. Writes to `gradients`, or with `accumulate`
  // adds to what is there, the gradient of
  //   scale * (sum over tokens of cross entropy + N * (load_balance_loss * load_balance + z_loss * z))
  // so that scale = 1 / (tokens of the global batch) gives the mean loss of the batch however it is split. The load balance couples
  // the tokens of config.load_balance_sequences sequences, or of a micro-batch (as in OLMoE's trainer): with the former, it does not
  // depend on the split either. `done` is told of each stage of gradients (ParameterTable) that is final.
  MicroBatchLosses ForwardBackward(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                                   float scale, float* gradients, bool accumulate, const StageDone& done = nullptr);

  // Loss alone. `token_losses` [sequences, T] and `observer` may be null.
  MicroBatchLosses Evaluate(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                            float* token_losses = nullptr, LayerObserver* observer = nullptr);

  // The copy that products read, [table().total()]; null in fp32, where they read the parameters.
  BF16* rounded();
  // Makes the whole copy; nothing in fp32.
  void Round(const float* parameters);

  const RouterStats& router_stats() const;
  // Bytes of activations and scratch, without rounded().
  int64_t memory_bytes() const;

 private:
  const ModelConfig config_;
  const ParameterTable table_;
  const std::unique_ptr<Decoder> decoder_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_MODEL_H_
