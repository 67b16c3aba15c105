#include "worker/model/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/worker/model/tiny_model.h"

namespace polymoe {
namespace {

using nlohmann::json;

constexpr ModelLimits k3x17{.max_sequences = 3, .sequence_length = 17};

TEST(Model, BothTablesAgree) {
  for (const bool moe : {true, false}) {
    for (int kind = 0; kind <= static_cast<int>(ActivationKind::kPolyReluNorm); ++kind) {
      const ModelConfig config = TinyConfig(static_cast<ActivationKind>(kind), moe);
      const std::vector<float> parameters = Initial(config);
      const TinyBatch batch = MakeBatch(3 * 17, config.vocab);
      const Pass ref = RunModel(config, RefOps<float>(), parameters, batch, k3x17),
                 cpu = RunModel(config, CpuOps<float>(), parameters, batch, k3x17);
      EXPECT_NEAR(ref.losses.cross_entropy, cpu.losses.cross_entropy, 1e-5 * ref.losses.cross_entropy);
      EXPECT_NEAR(ref.losses.load_balance, cpu.losses.load_balance, 1e-5);
      EXPECT_NEAR(ref.losses.z, cpu.losses.z, 1e-5 * (1 + ref.losses.z));
      EXPECT_EQ(ref.router.counts, cpu.router.counts);
      // About 100 chained operations of 6e-8 each, in the worst case all in one direction.
      EXPECT_LT(Distance(ref.gradients, cpu.gradients), 1e-5 * Norm(ref.gradients)) << "kind " << kind << " moe " << moe;
    }
  }
}

TEST(Model, OneExpertGetsAllAndTheOthersNothing) {
  ModelConfig config = TinyConfig(ActivationKind::kPolyNorm, true);
  config.top_k = 1;
  std::vector<float> parameters = Initial(config);
  const ParameterTable table(config);
  // Router weights: expert 2 wins whatever comes, since the residual stream is made to point its way.
  for (int layer = 0; layer < config.layers; ++layer) {
    float* router = parameters.data() + table.layer(layer).router;
    std::fill_n(router, config.experts * config.hidden, 0.0f);
    std::fill_n(parameters.data() + table.layer(layer).post_norm, config.hidden, 0.0f);
    parameters[table.layer(layer).post_norm] = 1;
  }
  const TinyBatch batch = MakeBatch(2 * 7, config.vocab);
  // All logits 0: ties go to expert 0.
  Model model(config, CpuOps<float>(), {.max_sequences = 2, .sequence_length = 7});
  std::vector<float> gradients(table.total());
  const MicroBatchLosses losses =
      model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), 2, 1.0f / 14, gradients.data(), false);
  EXPECT_EQ(model.router_stats().counts, (std::vector<int32_t>{14, 0, 0, 0, 14, 0, 0, 0}));
  EXPECT_NEAR(losses.load_balance, 1.0, 1e-6);  // E * (1 * 1/E): probabilities are uniform
  EXPECT_NEAR(losses.z, std::pow(std::log(4), 2), 1e-6);
  for (const float entropy : model.router_stats().entropy) EXPECT_NEAR(entropy, std::log(4), 1e-6);
  for (int e = 1; e < config.experts; ++e) {
    const float* up = gradients.data() + table.layer(0).up + int64_t{e} * config.ffn * config.hidden;
    EXPECT_TRUE(std::all_of(up, up + config.ffn * config.hidden, [](float g) { return g == 0; })) << e;
  }
  for (const float g : gradients) ASSERT_TRUE(std::isfinite(g));
}

TEST(Model, AccumulationAddsUp) {
  // Dense: no term couples sequences, so two halves with the same scale give the gradient of the whole. 640 tokens, of which the head
  // takes 512 at a time.
  const ModelConfig config = TinyConfig(ActivationKind::kPolyNorm, false);
  const std::vector<float> parameters = Initial(config);
  constexpr int kLength = 160, kTokens = 4 * kLength;
  const TinyBatch batch = MakeBatch(kTokens, config.vocab);
  Model model(config, CpuOps<float>(), {.max_sequences = 4, .sequence_length = kLength});
  // What was there before is nothing to a pass that does not accumulate.
  std::vector<float> whole(model.table().total(), 7.0f), halves(whole.size(), -5.0f);
  const double loss =
      model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), 4, 1.0f / kTokens, whole.data(), false)
          .cross_entropy;
  double sum = 0;
  for (const int begin : {0, kTokens / 2}) {
    sum += model
               .ForwardBackward(parameters.data(), batch.tokens.data() + begin, batch.targets.data() + begin, 2, 1.0f / kTokens,
                                halves.data(), /*accumulate=*/begin > 0)
               .cross_entropy;
  }
  EXPECT_NEAR(loss, sum, 1e-6 * loss);
  EXPECT_LT(Distance(whole, halves), 1e-6 * Norm(whole));
}

TEST(Model, TheSameBitsAgainAndInAFreshModel) {
  const ModelConfig config = TinyConfig(ActivationKind::kPolyPRelu, true);
  const std::vector<float> parameters = Initial(config);
  const TinyBatch batch = MakeBatch(3 * 17, config.vocab);
  const Pass first = RunModel(config, CpuOps<float>(), parameters, batch, k3x17),
             second = RunModel(config, CpuOps<float>(), parameters, batch, k3x17);
  EXPECT_EQ(first.losses.cross_entropy, second.losses.cross_entropy);
  EXPECT_EQ(std::memcmp(first.gradients.data(), second.gradients.data(), first.gradients.size() * sizeof(float)), 0);
}

TEST(Model, EvaluateGivesTheTrainingLossAndEachTokens) {
  const ModelConfig config = TinyConfig(ActivationKind::kGelu, true);
  const std::vector<float> parameters = Initial(config);
  const TinyBatch batch = MakeBatch(2 * 9, config.vocab);
  Model model(config, CpuOps<float>(), {.max_sequences = 3, .sequence_length = 9});  // room for more
  std::vector<float> gradients(model.table().total()), tokens(18);
  const auto trained =
      model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), 2, 1.0f / 18, gradients.data(), false);
  const auto evaluated = model.Evaluate(parameters.data(), batch.tokens.data(), batch.targets.data(), 2, tokens.data());
  EXPECT_EQ(trained.cross_entropy, evaluated.cross_entropy);
  EXPECT_NEAR(std::accumulate(tokens.begin(), tokens.end(), 0.0), evaluated.cross_entropy, 1e-5);
}

TEST(Model, CausalNoTokenSeesTheFuture) {
  const ModelConfig config = TinyConfig(ActivationKind::kPolyNorm, true);
  const std::vector<float> parameters = Initial(config);
  TinyBatch batch = MakeBatch(9, config.vocab);
  Model model(config, CpuOps<float>(), {.max_sequences = 1, .sequence_length = 9});
  std::vector<float> before(9), after(9);
  model.Evaluate(parameters.data(), batch.tokens.data(), batch.targets.data(), 1, before.data());
  batch.tokens[6] = (batch.tokens[6] + 1) % config.vocab;
  model.Evaluate(parameters.data(), batch.tokens.data(), batch.targets.data(), 1, after.data());
  for (int i = 0; i < 6; ++i) EXPECT_FLOAT_EQ(before[i], after[i]) << i;
  EXPECT_NE(before[6], after[6]);
}

// ---- golden files, made by tests/golden/make_golden.py with PyTorch in float64

// The fill that the generator uses too: a hash of (tensor name, index) to a float.
float GoldenValue(const Parameter& p, int64_t i) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : p.name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  h = (h ^ static_cast<uint64_t>(i)) * 0x9e3779b97f4a7c15;
  h ^= h >> 32;
  const double uniform = static_cast<double>(h & 0xffffff) / 0x1000000 - 0.5;  // [-0.5, 0.5)
  switch (p.init) {
    case Init::kOnes:
      return static_cast<float>(1 + 0.4 * uniform);
    case Init::kCoefficients:
      return static_cast<float>(0.3 + 0.4 * uniform);
    default:
      return static_cast<float>(0.5 * uniform);
  }
}

class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, LossesAndGradientsAreThoseOfPyTorch) {
  std::ifstream file(std::string(POLYMOE_SOURCE_DIR) + "/tests/golden/" + GetParam() + ".json");
  const json golden = json::parse(file);
  const json& c = golden.at("config");
  ModelConfig config{.moe = c.at("moe"),
                     .layers = c.at("layers"),
                     .hidden = c.at("hidden"),
                     .heads = c.at("heads"),
                     .ffn = c.at("ffn"),
                     .experts = c.at("experts"),
                     .top_k = c.at("top_k"),
                     .vocab = c.at("vocab"),
                     .activation = {.kind = static_cast<ActivationKind>(c.at("activation").get<int>()), .order = c.at("order")},
                     .coefficients_per_expert = c.at("per_expert")};
  const ModelLimits limits{.max_sequences = c.at("sequences"), .sequence_length = c.at("length")};
  const int count = limits.max_sequences * limits.sequence_length;
  const ParameterTable table(config);
  std::vector<float> parameters(table.total());
  for (const Parameter& p : table.parameters()) {
    for (int64_t i = 0; i < p.size; ++i) parameters[p.offset + i] = GoldenValue(p, i);
  }
  const TinyBatch batch = MakeBatch(count, config.vocab);
  for (const Ops<float>* ops : {&RefOps<float>(), &CpuOps<float>()}) {
    const Pass pass = RunModel(config, *ops, parameters, batch, limits);
    EXPECT_NEAR(pass.losses.cross_entropy / count, golden.at("cross_entropy"), 1e-5) << ops->name;
    EXPECT_NEAR(pass.losses.load_balance, golden.at("load_balance"), 1e-5) << ops->name;
    EXPECT_NEAR(pass.losses.z, golden.at("z"), 1e-5 * (1 + golden.at("z").get<double>())) << ops->name;
    ASSERT_EQ(golden.at("gradients").size(), table.parameters().size());
    for (const Parameter& p : table.parameters()) {
      const json& want = golden.at("gradients").at(p.name);
      const float* g = pass.gradients.data() + p.offset;
      double norm = 0;
      for (int64_t i = 0; i < p.size; ++i) norm += static_cast<double>(g[i]) * g[i];
      // fp32 against float64 through two layers; 1e-4 of a tensor's norm is far from any missing term.
      const double tolerance = 1e-4 * want.at("norm").get<double>() + 1e-7;
      EXPECT_NEAR(std::sqrt(norm), want.at("norm"), tolerance) << ops->name << " " << p.name;
      for (const auto& [index, value] : want.at("samples").items()) {
        EXPECT_NEAR(g[std::stoll(index)], value.get<double>(), tolerance) << ops->name << " " << p.name << "[" << index << "]";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(PyTorch, Golden,
                         ::testing::Values("moe_polynorm", "moe_swiglu", "moe_polyrelu_per_expert", "dense_polynorm", "dense_gelu"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace polymoe
