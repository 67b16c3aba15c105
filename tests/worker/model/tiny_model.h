// Small models and data for tests.
#ifndef POLYMOE_TESTS_WORKER_MODEL_TINY_MODEL_H_
#define POLYMOE_TESTS_WORKER_MODEL_TINY_MODEL_H_

#include <cstdint>
#include <vector>

#include "worker/model/model.h"

namespace polymoe {

inline ModelConfig TinyConfig(ActivationKind kind, bool moe) {
  ModelConfig config{.moe = moe,
                     .layers = 2,
                     .hidden = 32,
                     .heads = 2,
                     .ffn = 24,
                     .experts = moe ? 4 : 1,
                     .top_k = moe ? 2 : 1,
                     .vocab = 50,
                     .activation = {.kind = kind},
                     .init_std = 0.2f};  // large enough that every path carries a gradient
  return config;
}

struct TinyBatch {
  std::vector<int32_t> tokens, targets;
};

inline TinyBatch MakeBatch(int count, int vocab) {
  TinyBatch batch;
  for (int i = 0; i < count; ++i) {
    batch.tokens.push_back((i * 7 + i * i) % vocab);
    batch.targets.push_back((i * 11 + 3) % vocab);
  }
  return batch;
}

// The objective whose gradient ForwardBackward adds, for scale = 1 / tokens.
inline double Objective(const MicroBatchLosses& losses, const ModelConfig& config, int tokens) {
  return losses.cross_entropy / tokens + config.load_balance_loss * losses.load_balance + config.z_loss * losses.z;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_MODEL_TINY_MODEL_H_
