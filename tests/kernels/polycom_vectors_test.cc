// Both tables, and the reference in double, against values computed with 60 digits (polycom_vectors.h).
#include "tests/kernels/polycom_vectors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ops.h"
#include "kernels/ref/activation.h"

namespace polymoe {
namespace {

double Largest(const std::vector<double>& values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

class PolyComTest : public ::testing::TestWithParam<size_t> {};

TEST_P(PolyComTest, ReferenceInDoubleIsExact) {
  const PolyComVector& v = PolyComVectors()[GetParam()];
  const int f = static_cast<int>(v.x.size());
  const int32_t offsets[] = {0, 1};
  std::vector<double> y(f), dx(f), dc(4);
  const Activation a{.kind = v.kind, .order = 3, .epsilon = 1e-6f};
  ref::ActivationForward(a, {1, offsets}, f, v.x.data(), v.c.data(), 0, {}, y.data());
  ref::ActivationBackward<double, double>(a, {1, offsets}, f, v.x.data(), v.c.data(), 0, {}, v.dy.data(), dx.data(), nullptr,
                                          dc.data());
  // epsilon is a float: 1e-6f differs from 1e-6 by 2.5e-14 of its value relative to 1e-6, i.e. 2.5e-8 relative, and enters with the
  // weight epsilon / mean(x^2p), which reaches 1/2 on the zero row. 1e-7 relative covers it; a wrong formula is off by orders more.
  for (int j = 0; j < f; ++j) {
    EXPECT_NEAR(y[j], v.y[j], 1e-7 * Largest(v.y)) << v.name << " y[" << j << "]";
    EXPECT_NEAR(dx[j], v.dx[j], 1e-7 * std::max(Largest(v.dx), 0.01)) << v.name << " dx[" << j << "]";
  }
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(dc[i], v.dc[i], 1e-7 * Largest(v.dc)) << v.name << " dc[" << i << "]";
}

TEST_P(PolyComTest, BothTablesInFloat) {
  const PolyComVector& v = PolyComVectors()[GetParam()];
  const int f = static_cast<int>(v.x.size());
  const int32_t offsets[] = {0, 1};
  const std::vector<float> x(v.x.begin(), v.x.end()), c(v.c.begin(), v.c.end()), dy(v.dy.begin(), v.dy.end());
  const Activation a{.kind = v.kind, .order = 3};
  for (const Ops<float>* ops : {&RefOps<float>(), &CpuOps<float>()}) {
    std::vector<float> y(f), dx(f), dc(4);
    ops->activation_forward(a, {1, offsets}, f, x.data(), c.data(), 0, {}, y.data());
    ops->activation_backward(a, {1, offsets}, f, x.data(), c.data(), 0, {}, dy.data(), dx.data(), nullptr, dc.data());
    // About 20 roundings of 6e-8 at the size of the largest term; dx subtracts terms of the size of the largest |dy| rstd weight.
    const double term = 1.2e-6 * std::max({Largest(v.y), Largest(v.dx), Largest(v.dc), Largest(v.dy)});
    for (int j = 0; j < f; ++j) {
      EXPECT_NEAR(y[j], v.y[j], term) << ops->name << " " << v.name << " y[" << j << "]";
      EXPECT_NEAR(dx[j], v.dx[j], term) << ops->name << " " << v.name << " dx[" << j << "]";
    }
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(dc[i], v.dc[i], term) << ops->name << " " << v.name << " dc[" << i << "]";
  }
}

// The tables in bf16 see rounded inputs; against the reference in double of those, a result may be one rounding away.
TEST_P(PolyComTest, BothTablesInBf16) {
  const PolyComVector& v = PolyComVectors()[GetParam()];
  const int f = static_cast<int>(v.x.size());
  const int32_t offsets[] = {0, 1};
  std::vector<BF16> x, dy;
  for (const double value : v.x) x.emplace_back(value);
  for (const double value : v.dy) dy.emplace_back(value);
  const std::vector<double> wide_x(x.begin(), x.end()), wide_dy(dy.begin(), dy.end());
  const std::vector<float> c(v.c.begin(), v.c.end());
  const std::vector<double> wide_c(c.begin(), c.end());
  const Activation a{.kind = v.kind, .order = 3};
  std::vector<double> want_y(f), want_dx(f), want_dc(4);
  ref::ActivationForward(a, {1, offsets}, f, wide_x.data(), wide_c.data(), 0, {}, want_y.data());
  ref::ActivationBackward<double, double>(a, {1, offsets}, f, wide_x.data(), wide_c.data(), 0, {}, wide_dy.data(), want_dx.data(),
                                          nullptr, want_dc.data());
  std::vector<const Ops<BF16>*> tables = {&RefOps<BF16>()};
  if (CpuHasBf16()) tables.push_back(&CpuOps<BF16>());
  for (const Ops<BF16>* ops : tables) {
    std::vector<BF16> y(f), dx(f);
    std::vector<float> dc(4);
    ops->activation_forward(a, {1, offsets}, f, x.data(), c.data(), 0, {}, y.data());
    ops->activation_backward(a, {1, offsets}, f, x.data(), c.data(), 0, {}, dy.data(), dx.data(), nullptr, dc.data());
    const double term = 1.2e-6 * std::max({Largest(want_y), Largest(want_dx), Largest(want_dc), Largest(wide_dy)});
    for (int j = 0; j < f; ++j) {
      EXPECT_NEAR(y[j], want_y[j], term + std::abs(want_y[j]) / 256) << ops->name << " " << v.name << " y[" << j << "]";
      EXPECT_NEAR(dx[j], want_dx[j], term + std::abs(want_dx[j]) / 256) << ops->name << " " << v.name << " dx[" << j << "]";
    }
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(dc[i], want_dc[i], term) << ops->name << " " << v.name << " dc[" << i << "]";
  }
}

INSTANTIATE_TEST_SUITE_P(All, PolyComTest, ::testing::Range<size_t>(0, 9),
                         [](const auto& info) { return std::string(PolyComVectors()[info.param].name); });

}  // namespace
}  // namespace polymoe
