// What an observer is shown of an evaluation is what the model computed, and being looked at changes nothing.
#include "worker/model/observer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

#include "tests/worker/model/tiny_model.h"

namespace polymoe {
namespace {

constexpr int kSequences = 3, kLength = 17, kTokens = kSequences * kLength;

// Keeps a copy of everything.
class Copies final : public LayerObserver {
 public:
  explicit Copies(const ModelConfig& config) : config_(config) {}

  void Activation(int layer, int64_t rows, const float* values) override { Keep(layer, rows, values); }
  void Activation(int layer, int64_t rows, const BF16* values) override { Keep(layer, rows, values); }
  void Hidden(int layer, int tokens, const float* states) override {
    hidden[layer].assign(states, states + tokens * config_.hidden);
  }

  std::map<int, std::vector<float>> activations, hidden;  // by layer

 private:
  template <class E>
  void Keep(int layer, int64_t rows, const E* values) {
    activations[layer].insert(activations[layer].end(), values, values + rows * config_.ffn);
  }

  const ModelConfig& config_;
};

template <class E>
Copies Look(const ModelConfig& config, const Ops<E>& ops, bool recompute = false) {
  Model model(config, ops, {.max_sequences = kSequences, .sequence_length = kLength, .recompute = recompute});
  const std::vector<float> parameters = Initial(config);
  model.Round(parameters.data());
  const TinyBatch batch = MakeBatch(kTokens, config.vocab);
  Copies copies(config);
  model.Evaluate(parameters.data(), batch.tokens.data(), batch.targets.data(), kSequences, nullptr, &copies);
  return copies;
}

// The tensors of a layer are the same in a model that ends with it.
TEST(LayerObserver, SeesTheStreamBehindEachLayer) {
  for (const bool recompute : {false, true}) {
    ModelConfig config = TinyConfig(ActivationKind::kPolyNorm, /*moe=*/true);
    config.layers = 3;
    const Copies all = Look(config, CpuOps<float>(), recompute);
    ASSERT_EQ(all.hidden.size(), 3u);
    for (int layer = 0; layer < 3; ++layer) {
      config.layers = layer + 1;
      EXPECT_EQ(all.hidden.at(layer), Look(config, CpuOps<float>(), recompute).hidden.at(layer)) << layer;
    }
    EXPECT_NE(all.hidden.at(1), all.hidden.at(2));
  }
}

TEST(LayerObserver, TheLossFollowsFromTheLastStream) {
  const ModelConfig config = TinyConfig(ActivationKind::kGelu, /*moe=*/false);
  const std::vector<float> hidden = Look(config, CpuOps<float>()).hidden.at(1), parameters = Initial(config);
  Model model(config, CpuOps<float>(), {.max_sequences = kSequences, .sequence_length = kLength});
  const TinyBatch batch = MakeBatch(kTokens, config.vocab);
  std::vector<float> losses(kTokens);
  model.Evaluate(parameters.data(), batch.tokens.data(), batch.targets.data(), kSequences, losses.data());
  const float* norm = parameters.data() + model.table().final_norm();
  for (int token = 0; token < kTokens; ++token) {
    const float* x = hidden.data() + token * config.hidden;
    double square = 0, sum = 0, chosen = 0;
    for (int i = 0; i < config.hidden; ++i) square += x[i] * x[i];
    const double rstd = 1 / std::sqrt(square / config.hidden + config.norm_epsilon);
    for (int word = 0; word < config.vocab; ++word) {
      const float* w = parameters.data() + model.table().lm_head() + word * config.hidden;
      double logit = 0;
      for (int i = 0; i < config.hidden; ++i) logit += x[i] * rstd * norm[i] * w[i];
      sum += std::exp(logit);
      if (word == batch.targets[token]) chosen = logit;
    }
    EXPECT_NEAR(losses[token], std::log(sum) - chosen, 1e-4) << token;
  }
}

// norm(x), PolyNorm of order 1 with its initial coefficients, has rows whose mean square is 1: less with a router's weight in them.
template <class E>
void ExpectRowsOfNorm1(const Ops<E>& ops, bool moe, double tolerance) {
  ModelConfig config = TinyConfig(ActivationKind::kPolyNorm, moe);
  config.activation.order = 1;
  const Copies copies = Look(config, ops);
  ASSERT_EQ(copies.activations.size(), 2u);
  for (const auto& [layer, values] : copies.activations) {
    ASSERT_EQ(values.size(), static_cast<size_t>(kTokens * config.top_k * config.ffn)) << "every routed row once";
    for (size_t row = 0; row < values.size(); row += config.ffn) {
      double square = 0;
      for (int i = 0; i < config.ffn; ++i) square += values[row + i] * values[row + i];
      EXPECT_NEAR(square / config.ffn, 1, tolerance) << "layer " << layer << " row " << row / config.ffn;
    }
  }
}

TEST(LayerObserver, SeesActivationsWithoutTheRoutersWeight) {
  for (const bool moe : {true, false}) {
    ExpectRowsOfNorm1(CpuOps<float>(), moe, 1e-3);  // the epsilon in the norm takes a little
    if (CpuHasBf16()) ExpectRowsOfNorm1(CpuOps<BF16>(), moe, 1e-2);
  }
}

TEST(LayerObserver, ChangesNothing) {
  for (const bool moe : {true, false}) {
    const ModelConfig config = TinyConfig(ActivationKind::kPolyRelu, moe);
    const std::vector<float> parameters = Initial(config);
    const TinyBatch batch = MakeBatch(kTokens, config.vocab);
    const auto run = [&](LayerObserver* observer) {
      Model model(config, CpuOps<float>(), {.max_sequences = kSequences, .sequence_length = kLength});
      std::vector<float> gradients(model.table().total()), losses(kTokens);
      model.Evaluate(parameters.data(), batch.tokens.data(), batch.targets.data(), kSequences, losses.data(), observer);
      model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), kSequences, 1, gradients.data(), false);
      return std::pair(losses, gradients);
    };
    Copies copies(config);
    EXPECT_EQ(run(&copies), run(nullptr));
    EXPECT_EQ(copies.hidden.size(), 2u);
  }
}

}  // namespace
}  // namespace polymoe
