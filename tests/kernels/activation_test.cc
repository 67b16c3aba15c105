// What PolyNorm's definition implies, for both tables in fp32: identities that hold for any row.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/ops.h"
#include "tests/kernels/random_data.h"

namespace polymoe {
namespace {

constexpr int kWidth = 513;
constexpr Activation kPolyNorm{.kind = ActivationKind::kPolyNorm};
const int32_t kOneRow[] = {0, 1};
const std::vector<float> kCoefficients = {0.3f, -0.2f, 0.7f, 0.1f};

class PolyNormIdentity : public ::testing::TestWithParam<const Ops<float>* (*)()> {
 protected:
  const Ops<float>& ops() const { return *GetParam()(); }
  std::vector<float> Forward(const std::vector<float>& x) const {
    std::vector<float> y(x.size());
    ops().activation_forward(kPolyNorm, {1, kOneRow}, static_cast<int>(x.size()), x.data(), kCoefficients.data(), 0, {}, y.data());
    return y;
  }
};

TEST_P(PolyNormIdentity, EulerSumOverWeights) {
  // sum_j dy_j (y_j - bias) == sum_p w_p dw_p: y - bias is linear in the weights.
  const auto x = RandomVector<float>(kWidth, 1), dy = RandomVector<float>(kWidth, 2);
  const auto y = Forward(x);
  std::vector<float> dx(kWidth), dc(4);
  ops().activation_backward(kPolyNorm, {1, kOneRow}, kWidth, x.data(), kCoefficients.data(), 0, {}, dy.data(), dx.data(), nullptr,
                            dc.data());
  double left = 0, right = 0, magnitude = 0;
  for (int j = 0; j < kWidth; ++j) {
    left += dy[j] * (y[j] - 0.1);
    magnitude += std::abs(dy[j] * y[j]);
  }
  for (int p = 0; p < 3; ++p) right += kCoefficients[p] * dc[p];
  EXPECT_NEAR(left, right, 1e-6 * magnitude);
}

TEST_P(PolyNormIdentity, ScaleInvariantInItsInput) {
  const auto x = RandomVector<float>(kWidth, 3);
  const auto y = Forward(x);
  for (const float s : {10.0f, 1000.0f}) {
    std::vector<float> scaled = x;
    for (float& v : scaled) v *= s;
    const auto z = Forward(scaled);
    // Epsilon's share at sigma 1 is 1e-6 of each norm; the rest is fp32 rounding of values up to sum|w| sqrt(width) ~ 27.
    for (int j = 0; j < kWidth; ++j) EXPECT_NEAR(y[j], z[j], 2e-5) << s;
  }
  // The gradient along x itself vanishes with it.
  const auto dy = RandomVector<float>(kWidth, 4);
  std::vector<float> dx(kWidth), dc(4);
  ops().activation_backward(kPolyNorm, {1, kOneRow}, kWidth, x.data(), kCoefficients.data(), 0, {}, dy.data(), dx.data(), nullptr,
                            dc.data());
  double along = 0, magnitude = 0;
  for (int j = 0; j < kWidth; ++j) {
    along += x[j] * dx[j];
    magnitude += std::abs(x[j] * dx[j]);
  }
  EXPECT_LT(std::abs(along), 1e-5 * magnitude);
}

TEST_P(PolyNormIdentity, BoundedByTheWeights) {
  std::vector<float> one_hot(kWidth);
  one_hot[100] = 7;
  const auto y = Forward(one_hot);
  // A one-hot row reaches sqrt(width) times each weight.
  EXPECT_NEAR(y[100] - 0.1, std::sqrt(513.0) * (0.3 - 0.2 + 0.7), 1e-3);
  for (int j = 0; j < kWidth; ++j) EXPECT_LE(std::abs(y[j] - 0.1), std::sqrt(513.0) * 1.2 * (1 + 1e-5));
}

TEST_P(PolyNormIdentity, ANaNStaysInItsRow) {
  auto x = RandomVector<float>(3 * kWidth, 5);
  x[kWidth + 7] = std::numeric_limits<float>::quiet_NaN();
  const int32_t offsets[] = {0, 3};
  for (const ActivationKind kind :
       {ActivationKind::kPolyNorm, ActivationKind::kPolyRelu, ActivationKind::kPolyPRelu, ActivationKind::kPolyReluNorm,
        ActivationKind::kRelu, ActivationKind::kRelu2, ActivationKind::kGelu}) {
    const std::vector<float> c(6, 0.3f);
    std::vector<float> y(3 * kWidth);
    ops().activation_forward({.kind = kind}, {1, offsets}, kWidth, x.data(), c.data(), 0, {}, y.data());
    EXPECT_TRUE(std::isnan(y[kWidth + 7])) << "a NaN must not be hidden, kind " << static_cast<int>(kind);
    for (int j = 0; j < kWidth; ++j) {
      EXPECT_TRUE(std::isfinite(y[j])) << static_cast<int>(kind);
      EXPECT_TRUE(std::isfinite(y[2 * kWidth + j])) << static_cast<int>(kind);
    }
  }
}

TEST_P(PolyNormIdentity, LargeInputsStayFinite) {
  const auto y = Forward(std::vector<float>(kWidth, 1e6f));  // x^6 = 1e36, just below the end of fp32
  for (const float v : y) EXPECT_NEAR(v, 0.9, 1e-4);
}

// A row's weight scales its y and all gradients but its own, which is <y of weight 1, dy>.
TEST_P(PolyNormIdentity, LinearInTheRowWeight) {
  const auto x = RandomVector<float>(kWidth, 6), dy = RandomVector<float>(kWidth, 7);
  const int32_t source = 1;
  const float weights[] = {7, 0.25f};
  std::vector<float> y(kWidth), dx[2], dc[2], dweights(2);
  for (const int weighted : {0, 1}) {
    dx[weighted].resize(kWidth), dc[weighted].resize(4);
    const RowWeights row_weights = weighted ? RowWeights{weights, &source} : RowWeights{};
    ops().activation_forward(kPolyNorm, {1, kOneRow}, kWidth, x.data(), kCoefficients.data(), 0, row_weights, y.data());
    ops().activation_backward(kPolyNorm, {1, kOneRow}, kWidth, x.data(), kCoefficients.data(), 0, row_weights, dy.data(),
                              dx[weighted].data(), dweights.data(), dc[weighted].data());
  }
  const auto plain = Forward(x);
  for (int j = 0; j < kWidth; ++j) {
    EXPECT_NEAR(y[j], plain[j] * 0.25, 1e-6);
    EXPECT_NEAR(dx[1][j], dx[0][j] * 0.25, 1e-6);
  }
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(dc[1][i], dc[0][i] * 0.25, 1e-5);
  EXPECT_EQ(dweights[0], 0);  // no row's
  EXPECT_NEAR(dweights[1], std::inner_product(plain.begin(), plain.end(), dy.begin(), 0.0), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Tables, PolyNormIdentity,
                         ::testing::Values(
                             +[] { return &RefOps<float>(); }, +[] { return &CpuOps<float>(); }),
                         [](const auto& info) { return std::string(info.param()->name); });

}  // namespace
}  // namespace polymoe
