// The network's shape, as plain numbers: what ModelSpec says after defaults and width matching. Knows no protobuf.
#ifndef POLYMOE_WORKER_MODEL_CONFIG_H_
#define POLYMOE_WORKER_MODEL_CONFIG_H_

#include "kernels/ops.h"

namespace polymoe {

struct ModelConfig {
  bool moe = true;  // OLMoE decoder, else the LLaMA decoder (no router, no QK norm)
  int layers = 1;
  int hidden = 64;  // D
  int heads = 4;    // H; hidden / heads even
  int ffn = 128;    // F, after width matching
  int experts = 1;  // E; 1 when dense
  int top_k = 1;    // K; 1 when dense
  int vocab = 256;  // V
  Activation activation;
  bool coefficients_per_expert = false;
  float rope_theta = 10000.0f;
  float norm_epsilon = 1e-5f;
  float init_std = 0.02f;
  float load_balance_loss = 0.01f;
  int load_balance_sequences = 0;  // over which each load-balance loss is taken; 0: a micro-batch
  float z_loss = 0.001f;

  int head_dim() const { return hidden / heads; }
  // Rows of the up projection: gate and up together when gated.
  int up_width() const { return activation.gated() ? 2 * ffn : ffn; }
  int coefficient_sets() const { return moe && coefficients_per_expert ? experts : 1; }
};

// The experts of each layer that one rank holds.
struct ExpertShard {
  int first = 0, count = 1;
};

// Part `rank` of `ranks` equal parts.
inline ExpertShard ShardExperts(const ModelConfig& config, int rank, int ranks) {
  const int count = config.experts / ranks;
  return {rank * count, count};
}

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_CONFIG_H_
