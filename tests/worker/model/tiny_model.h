// Small models and data for tests.
#ifndef POLYMOE_TESTS_WORKER_MODEL_TINY_MODEL_H_
#define POLYMOE_TESTS_WORKER_MODEL_TINY_MODEL_H_

#include <cmath>
#include <cstdint>
#include <numeric>
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

inline std::vector<float> Initial(const ModelConfig& config, uint64_t seed = 1) {
  const ParameterTable table(config);
  std::vector<float> parameters(table.total());
  table.Initialize(seed, config, parameters.data());
  return parameters;
}

// One micro-batch, forward and backward, in a fresh model that is just large enough.
struct Pass {
  MicroBatchLosses losses;
  RouterStats router;
  std::vector<float> gradients;
};

template <class E>
Pass RunModel(const ModelConfig& config, const Ops<E>& ops, const std::vector<float>& parameters, const TinyBatch& batch,
              const ModelLimits& limits) {
  Model model(config, ops, limits);
  model.Round(parameters.data());
  Pass pass{.gradients = std::vector<float>(model.table().total())};
  pass.losses = model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), limits.max_sequences,
                                      1.0f / static_cast<float>(batch.tokens.size()), pass.gradients.data(), /*accumulate=*/false);
  pass.router = model.router_stats();
  return pass;
}

inline double Norm(const std::vector<float>& v) {
  return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
}

inline double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(sum);
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_MODEL_TINY_MODEL_H_
