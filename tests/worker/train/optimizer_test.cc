// AdamW against the published algorithm in double over several steps, on the parameter table of a model with coefficients.
#include "worker/train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/worker/model/tiny_model.h"

namespace polymoe {
namespace {

ModelConfig Config() {
  ModelConfig config = TinyConfig(ActivationKind::kPolyPRelu, /*moe=*/true);
  config.coefficients_per_expert = true;
  return config;
}

// Values in (-1, 1) that depend on index and step; every 7th is zero, as for an embedding row that the batch does not have.
float Gradient(int64_t i, int t) {
  return i % 7 == 0 ? 0 : static_cast<float>(std::sin(static_cast<double>(i) * 0.7 + t * 1.3));
}

// Loshchilov & Hutter, algorithm 2, for one parameter.
struct PlainAdamW {
  double p, m = 0, v = 0;
  void Step(int t, double rate, double decay, double g, const AdamWConfig& c) {
    p -= rate * decay * p;
    m = c.beta1 * m + (1 - c.beta1) * g;
    v = c.beta2 * v + (1 - c.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(c.beta1, t)), v_hat = v / (1 - std::pow(c.beta2, t));
    p -= rate * m_hat / (std::sqrt(v_hat) + c.epsilon);
  }
};

// Eight steps of both.
void ExpectPlainAdamW(const AdamWConfig& config, double grad_scale, double tolerance) {
  const ModelConfig model = Config();
  const ParameterTable table(model);
  std::vector<float> parameters(table.total()), gradients(table.total());
  std::vector<BF16> rounded(table.total());
  table.Initialize(1, model, parameters.data());
  std::vector<PlainAdamW> plain;
  for (const float p : parameters) plain.push_back({p});
  Optimizer optimizer(config, Sharding(table, {}, {}), CpuOps<float>());
  for (int t = 1; t <= 8; ++t) {
    const double rate = 0.01 * t;  // a schedule
    for (int64_t i = 0; i < table.total(); ++i) gradients[i] = Gradient(i, t);
    optimizer.Step(t, rate, grad_scale, gradients.data(), parameters.data(), rounded.data());
    for (const Parameter& p : table.parameters()) {
      const double decay = p.name.ends_with("act.coef") ? 0 : config.weight_decay;
      for (int64_t i = p.offset; i < p.offset + p.size; ++i) {
        plain[i].Step(t, rate, decay, grad_scale * static_cast<double>(Gradient(i, t)), config);
        ASSERT_NEAR(parameters[i], plain[i].p, tolerance) << p.name << " step " << t;
        ASSERT_EQ(rounded[i].bits, BF16(parameters[i]).bits) << p.name << " step " << t;
        ASSERT_NEAR(optimizer.first()[i], plain[i].m, 1e-6) << p.name << " step " << t;
        ASSERT_NEAR(optimizer.second()[i], plain[i].v, 1e-6) << p.name << " step " << t;
      }
    }
  }
}

// Parameters stay below 2 in magnitude, so each of 8 steps rounds to 1.2e-7 or better; roundings of an update of 0.08 are less.
constexpr double kTolerance = 2e-6;

TEST(Optimizer, IsAdamWInDouble) {
  ExpectPlainAdamW({}, 1, kTolerance);
}

TEST(Optimizer, ClippingScalesTheGradientBeforeTheMoments) {
  ExpectPlainAdamW({.epsilon = 0.1}, 0.03, kTolerance);
}

TEST(Optimizer, LongMemoryIsCorrectedFromTheFirstStep) {
  // In fp32, 1 - 0.99999f is 0.14 % away from 1e-5; corrections made of another beta than the moments' would leave 0.07 % in each
  // early update, 2.5e-4 in these eight.
  ExpectPlainAdamW({.beta2 = 0.99999}, 1, kTolerance);
}

TEST(Optimizer, DecayTouchesEverythingButCoefficients) {
  const ModelConfig model = Config();
  const ParameterTable table(model);
  std::vector<float> parameters(table.total()), zeros(table.total());
  table.Initialize(1, model, parameters.data());
  const std::vector<float> before = parameters;
  Optimizer optimizer({.weight_decay = 0.5}, Sharding(table, {}, {}), CpuOps<float>());
  optimizer.Step(1, 0.1, 1, zeros.data(), parameters.data(), nullptr);
  int coefficients = 0;
  for (const Parameter& p : table.parameters()) {
    const bool coefficient = p.name.ends_with("act.coef");
    coefficients += coefficient;
    for (int64_t i = p.offset; i < p.offset + p.size; ++i)
      ASSERT_FLOAT_EQ(parameters[i], coefficient ? before[i] : before[i] * 0.95f) << p.name;
  }
  EXPECT_EQ(coefficients, 2 * 4);
}

}  // namespace
}  // namespace polymoe
