// bf16 against fp32, and the fast table against the plain one in bf16.
//
// Storing a value as bf16 errs by up to u = 2^-9 of it. In two layers 64 tensors are stored on the way of a gradient: in each layer 8
// activations (h1, qkv, qk, attention, h2, up, act, rows), their 8 gradients, and in each of these the weights that it met, twice.
// Were their errors independent and passed on as they are, the gradient's would be 8 u. Norms and powers may amplify that: twice that
// is allowed. Where an activation has a kink, an error of 8 u in its input puts about that share of the inputs on the other side, each
// with a gradient that is all wrong: sqrt(8 u) of the norm.
//
// Two tables that sum in other orders soon store other neighbours, and then differ as much as either does from fp32.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/kernels/activation_names.h"
#include "tests/worker/model/tiny_model.h"

namespace polymoe {
namespace {

constexpr ModelLimits kLimits{.max_sequences = 3, .sequence_length = 17};
constexpr int kTokens = 3 * 17;
constexpr double kRoundings = 8 * 0x1p-9;

struct Case {
  ActivationKind kind;
  bool moe;
};

double Tolerance(ActivationKind kind) {
  const bool kink = kind == ActivationKind::kRelu || kind == ActivationKind::kPolyRelu || kind == ActivationKind::kPolyPRelu ||
                    kind == ActivationKind::kPolyReluNorm;
  return kink ? std::sqrt(kRoundings) : 2 * kRoundings;
}

std::string CaseName(const Case& c) {
  return absl::StrCat(Name(c.kind), c.moe ? "Moe" : "Dense");
}

void PrintTo(const Case& c, std::ostream* os) {
  *os << CaseName(c);
}

class Precision : public ::testing::TestWithParam<Case> {
 protected:
  // Every token goes to every expert: where a rounding could change a token's expert, gradients would jump.
  static ModelConfig Continuous() {
    ModelConfig config = TinyConfig(GetParam().kind, GetParam().moe);
    config.top_k = config.experts;
    return config;
  }
  template <class E>
  static Pass Run(const ModelConfig& config, const Ops<E>& ops) {
    return RunModel(config, ops, Initial(config), MakeBatch(kTokens, config.vocab), kLimits);
  }
};

// Tokens that change their expert included.
TEST_P(Precision, TheLossIsThatOfFp32) {
  const ModelConfig config = TinyConfig(GetParam().kind, GetParam().moe);
  const Pass fp32 = Run(config, RefOps<float>()), bf16 = Run(config, RefOps<BF16>());
  EXPECT_NEAR(bf16.losses.cross_entropy, fp32.losses.cross_entropy, 0.01 * fp32.losses.cross_entropy);
  EXPECT_NE(bf16.losses.cross_entropy, fp32.losses.cross_entropy);
}

TEST_P(Precision, TheGradientIsThatOfFp32) {
  const Pass fp32 = Run(Continuous(), RefOps<float>()), bf16 = Run(Continuous(), RefOps<BF16>());
  EXPECT_LT(Distance(bf16.gradients, fp32.gradients), Tolerance(GetParam().kind) * Norm(fp32.gradients));
  EXPECT_NEAR(bf16.losses.z, fp32.losses.z, kRoundings * fp32.losses.z);
  EXPECT_NEAR(bf16.losses.load_balance, fp32.losses.load_balance, kRoundings * fp32.losses.load_balance);
}

TEST_P(Precision, BothTablesAgree) {
  if (!CpuHasBf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  const Pass ref = Run(Continuous(), RefOps<BF16>()), cpu = Run(Continuous(), CpuOps<BF16>());
  EXPECT_LT(Distance(cpu.gradients, ref.gradients), Tolerance(GetParam().kind) * Norm(ref.gradients));
  EXPECT_NEAR(cpu.losses.cross_entropy, ref.losses.cross_entropy, 1e-3 * ref.losses.cross_entropy);
  EXPECT_NEAR(cpu.losses.z, ref.losses.z, kRoundings * ref.losses.z);
}

INSTANTIATE_TEST_SUITE_P(All, Precision,
                         ::testing::Values(Case{ActivationKind::kRelu, true}, Case{ActivationKind::kRelu2, true},
                                           Case{ActivationKind::kGelu, true}, Case{ActivationKind::kSwiglu, true},
                                           Case{ActivationKind::kPolyRelu, true}, Case{ActivationKind::kPolyNorm, true},
                                           Case{ActivationKind::kPolyPRelu, true}, Case{ActivationKind::kPolyReluNorm, true},
                                           Case{ActivationKind::kSwiglu, false}, Case{ActivationKind::kPolyNorm, false},
                                           Case{ActivationKind::kGelu, false}),
                         [](const auto& info) { return CaseName(info.param); });

class Rounded : public ::testing::Test {
 protected:
  double Loss() {
    return model_.Evaluate(parameters_.data(), batch_.tokens.data(), batch_.targets.data(), kLimits.max_sequences).cross_entropy;
  }

  const ModelConfig config_ = TinyConfig(ActivationKind::kPolyNorm, true);
  const TinyBatch batch_ = MakeBatch(kTokens, config_.vocab);
  std::vector<float> parameters_ = Initial(config_);
  Model model_{config_, RefOps<BF16>(), kLimits};
};

TEST_F(Rounded, ProductsReadTheCopy) {
  model_.Round(parameters_.data());
  const double before = Loss();
  const LayerOffsets& at = model_.table().layer(0);
  for (const int64_t product : {at.qkv, at.o, at.router, at.up, at.down, model_.table().lm_head()}) {
    parameters_[product] += 3;
    EXPECT_EQ(Loss(), before) << product;
    model_.rounded()[product] = BF16(parameters_[product]);
    EXPECT_NE(Loss(), before) << product;
    parameters_[product] -= 3;
    model_.Round(parameters_.data());
    EXPECT_EQ(Loss(), before) << product;
  }
}

TEST_F(Rounded, NormsCoefficientsAndTheEmbeddingReadTheParameters) {
  model_.Round(parameters_.data());
  const double before = Loss();
  const ParameterTable& table = model_.table();
  const LayerOffsets& at = table.layer(0);
  const int64_t embedding = table.embedding() + int64_t{batch_.tokens[0]} * config_.hidden;
  for (const int64_t other : {at.input_norm, at.post_norm, at.q_norm, at.k_norm, at.coefficients, table.final_norm(), embedding}) {
    parameters_[other] += 3;
    EXPECT_NE(Loss(), before) << other;
    parameters_[other] -= 3;
    ASSERT_EQ(Loss(), before) << other;
  }
}

TEST_F(Rounded, ThereIsNoneInFp32) {
  Model model(config_, RefOps<float>(), kLimits);
  EXPECT_EQ(model.rounded(), nullptr);
  model.Round(parameters_.data());
}

}  // namespace
}  // namespace polymoe
