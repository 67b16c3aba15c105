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
  ref::ActivationForward(a, {1, offsets}, f, v.x.data(), v.c.data(), 0, y.data());
  ref::ActivationBackward(a, {1, offsets}, f, v.x.data(), v.c.data(), 0, v.dy.data(), dx.data(), dc.data());
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
  for (const Ops* ops : {&RefOps(), &CpuOps()}) {
    std::vector<float> y(f), dx(f), dc(4);
    ops->activation_forward(a, {1, offsets}, f, x.data(), c.data(), 0, y.data());
    ops->activation_backward(a, {1, offsets}, f, x.data(), c.data(), 0, dy.data(), dx.data(), dc.data());
    // About 20 roundings of 6e-8 at the size of the largest term; dx subtracts terms of the size of the largest |dy| rstd weight.
    const double term = 1.2e-6 * std::max({Largest(v.y), Largest(v.dx), Largest(v.dc), Largest(v.dy)});
    for (int j = 0; j < f; ++j) {
      EXPECT_NEAR(y[j], v.y[j], term) << ops->name << " " << v.name << " y[" << j << "]";
      EXPECT_NEAR(dx[j], v.dx[j], term) << ops->name << " " << v.name << " dx[" << j << "]";
    }
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(dc[i], v.dc[i], term) << ops->name << " " << v.name << " dc[" << i << "]";
  }
}

INSTANTIATE_TEST_SUITE_P(All, PolyComTest, ::testing::Range<size_t>(0, 9),
                         [](const auto& info) { return std::string(PolyComVectors()[info.param].name); });

}  // namespace
}  // namespace polymoe
