// The whole model's gradient against differences of its loss, one tensor after the other along the gradient itself, where the
// derivative is the gradient's norm.
//
// The loss is an fp32 sum of about 5: rounding of 3e-7 in each of two evaluations over a step of 2e-3 allows 3e-4 absolute, and the step
// itself errs by h^2 times the third derivative. Tensors whose gradient is below 0.02 are not resolved by that and are covered by
// the single elements' test of kernels/; the others must agree to 2%: a wrong term is off by far more.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/kernels/activation_names.h"
#include "tests/worker/model/tiny_model.h"

namespace polymoe {
namespace {

constexpr int kSequences = 2, kLength = 7, kTokens = kSequences * kLength;
constexpr double kStep = 2e-3;

struct Case {
  ActivationKind kind;
  bool moe;
  bool per_expert;
};

std::string CaseName(const Case& c) {
  return absl::StrCat(Name(c.kind), c.moe ? "Moe" : "Dense", c.per_expert ? "PerExpert" : "");
}

void PrintTo(const Case& c, std::ostream* os) {
  *os << CaseName(c);
}

class ModelGradient : public ::testing::TestWithParam<Case> {};

TEST_P(ModelGradient, EveryTensorMatchesDifferences) {
  ModelConfig config = TinyConfig(GetParam().kind, GetParam().moe);
  config.coefficients_per_expert = GetParam().per_expert;
  config.load_balance_loss = 0.1f;  // visible beside the cross entropy
  config.z_loss = 0.05f;
  Model model(config, RefOps<float>(), {.max_sequences = kSequences, .sequence_length = kLength});
  const int64_t total = model.table().total();
  std::vector<float> parameters(total), gradients(total);
  model.table().Initialize(1, config, parameters.data());
  const TinyBatch batch = MakeBatch(kTokens, config.vocab);
  model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), kSequences, 1.0f / kTokens, gradients.data(),
                        false);
  int checked = 0;
  for (const Parameter& p : model.table().parameters()) {
    double norm = 0;
    for (int64_t i = 0; i < p.size; ++i) norm += static_cast<double>(gradients[p.offset + i]) * gradients[p.offset + i];
    norm = std::sqrt(norm);
    if (norm < 0.02) continue;
    const auto at = [&](double step, std::vector<int32_t>* routing) {
      std::vector<float> moved = parameters;
      for (int64_t i = 0; i < p.size; ++i) moved[p.offset + i] += static_cast<float>(step * gradients[p.offset + i] / norm);
      const MicroBatchLosses losses = model.Evaluate(moved.data(), batch.tokens.data(), batch.targets.data(), kSequences);
      *routing = model.router_stats().counts;
      return Objective(losses, config, kTokens);
    };
    // Where a token changes its expert the loss jumps: the step must stay on one side of it.
    double step = kStep;
    std::vector<int32_t> here, above_routing, below_routing;
    at(0, &here);
    double above = at(step, &above_routing), below = at(-step, &below_routing);
    for (; above_routing != here || below_routing != here; step /= 4) {
      above = at(step / 4, &above_routing);
      below = at(-step / 4, &below_routing);
    }
    EXPECT_NEAR((above - below) / (2 * step), norm, 0.02 * norm + 3e-4 * kStep / step) << p.name;
    ++checked;
  }
  EXPECT_GT(checked, static_cast<int>(model.table().parameters().size()) / 2);
}

INSTANTIATE_TEST_SUITE_P(
    All, ModelGradient,
    ::testing::Values(Case{ActivationKind::kRelu, true, false}, Case{ActivationKind::kRelu2, true, false},
                      Case{ActivationKind::kGelu, true, false}, Case{ActivationKind::kSwiglu, true, false},
                      Case{ActivationKind::kPolyRelu, true, false}, Case{ActivationKind::kPolyNorm, true, false},
                      Case{ActivationKind::kPolyNorm, true, true}, Case{ActivationKind::kPolyPRelu, true, true},
                      Case{ActivationKind::kPolyReluNorm, true, false}, Case{ActivationKind::kSwiglu, false, false},
                      Case{ActivationKind::kPolyNorm, false, false}, Case{ActivationKind::kGelu, false, false}),
    [](const auto& info) { return CaseName(info.param); });

}  // namespace
}  // namespace polymoe
