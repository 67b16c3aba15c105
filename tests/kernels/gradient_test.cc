// Every backward reference against central differences of its forward reference, in double.
//
// With f smooth and values of order 1, a central difference of step h = 1e-5 has an error of about h^2 |f'''| / 6 ~ 1e-10 from
// truncation and 1e-16 / h = 1e-11 from rounding: 1e-7 relative to the largest gradient leaves room for f''' and long sums, and is far
// below any mistake in a formula.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/ref/activation.h"
#include "kernels/ref/attention.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/loss.h"
#include "kernels/ref/norm.h"
#include "kernels/ref/router.h"
#include "tests/kernels/activation_names.h"
#include "tests/kernels/random_data.h"

namespace polymoe {
namespace {

using Vec = std::vector<double>;

constexpr double kStep = 1e-5, kTolerance = 1e-7;

double Dot(const Vec& a, const Vec& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// `objective` reads `x`; `gradient` is what the backward pass says d(objective)/dx is.
void ExpectGradient(const char* what, Vec& x, const Vec& gradient, const std::function<double()>& objective) {
  ASSERT_EQ(x.size(), gradient.size());
  double largest = 1e-3;
  for (const double g : gradient) largest = std::max(largest, std::abs(g));
  for (size_t i = 0; i < x.size(); ++i) {
    const double saved = x[i];
    x[i] = saved + kStep;
    const double above = objective();
    x[i] = saved - kStep;
    const double below = objective();
    x[i] = saved;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * kStep), kTolerance * largest) << what << "[" << i << "]";
  }
}

TEST(Gradient, Linear) {
  const int m = 3, n = 4, k = 5;
  Vec x = RandomVector<double>(m * k, 1), w = RandomVector<double>(n * k, 2), dx(m * k), dw(n * k), y(m * n);
  const Vec dy = RandomVector<double>(m * n, 3);
  const auto objective = [&] {
    ref::LinearForward(m, n, k, x.data(), w.data(), y.data());
    return Dot(y, dy);
  };
  ref::LinearBackwardInput(m, n, k, dy.data(), w.data(), dx.data(), false);
  ref::LinearBackwardWeight(m, n, k, dy.data(), x.data(), dw.data());
  ExpectGradient("dx", x, dx, objective);
  ExpectGradient("dw", w, dw, objective);
}

TEST(Gradient, RmsNorm) {
  const int rows = 3, d = 6;
  Vec x = RandomVector<double>(rows * d, 1), w = RandomVector<double>(d, 2), y(rows * d), rstd(rows), dx(rows * d), dw(d);
  const Vec dy = RandomVector<double>(rows * d, 3);
  const auto objective = [&] {
    ref::RmsNormForward(rows, d, 1e-5, x.data(), w.data(), y.data(), rstd.data());
    return Dot(y, dy);
  };
  objective();
  ref::RmsNormBackward(rows, d, x.data(), w.data(), rstd.data(), dy.data(), dx.data(), false, dw.data());
  ExpectGradient("dx", x, dx, objective);
  ExpectGradient("dw", w, dw, objective);
}

TEST(Gradient, RopeIsARotation) {
  const int b = 2, t = 3, heads = 2, head_dim = 4;
  Vec x = RandomVector<double>(b * t * heads * head_dim, 1);
  const Vec dy = RandomVector<double>(static_cast<int64_t>(x.size()), 2);
  Vec dx = dy;
  ref::Rope(b, t, heads, head_dim, 100.0, true, dx.data());
  ExpectGradient("dx", x, dx, [&] {
    Vec y = x;
    ref::Rope(b, t, heads, head_dim, 100.0, false, y.data());
    return Dot(y, dy);
  });
}

TEST(Gradient, Attention) {
  const int b = 2, t = 4, heads = 2, head_dim = 3;
  const int64_t size = b * t * heads * head_dim;
  Vec q = RandomVector<double>(size, 1), k = RandomVector<double>(size, 2), v = RandomVector<double>(size, 3);
  Vec y(size), lse(b * heads * t), dq(size), dk(size), dv(size);
  const Vec dy = RandomVector<double>(size, 4);
  const auto objective = [&] {
    ref::AttentionForward(b, t, heads, head_dim, q.data(), k.data(), v.data(), y.data(), lse.data());
    return Dot(y, dy);
  };
  objective();
  ref::AttentionBackward(b, t, heads, head_dim, q.data(), k.data(), v.data(), y.data(), lse.data(), dy.data(), dq.data(), dk.data(),
                         dv.data());
  ExpectGradient("dq", q, dq, objective);
  ExpectGradient("dk", k, dk, objective);
  ExpectGradient("dv", v, dv, objective);
}

TEST(Gradient, Router) {
  const int n = 4, e = 5, k = 2;
  const double balance = 0.3, z = 0.2;
  Vec logits = RandomVector<double>(n * e, 1), probs(n * e), weights(n * k), lse(n), dlogits(n * e);
  const Vec dweights = RandomVector<double>(n * k, 2);
  std::vector<int32_t> experts(n * k), counts(e);
  // Counts are not differentiated: the objective uses those of the unperturbed logits.
  ref::RouterForward(n, e, k, logits.data(), probs.data(), experts.data(), weights.data(), lse.data(), counts.data());
  const std::vector<int32_t> fixed_counts = counts, fixed_experts = experts;
  ref::RouterBackward(n, e, k, probs.data(), experts.data(), lse.data(), counts.data(), dweights.data(), balance, z,
                      dlogits.data());
  ExpectGradient("dlogits", logits, dlogits, [&] {
    ref::RouterForward(n, e, k, logits.data(), probs.data(), experts.data(), weights.data(), lse.data(), counts.data());
    EXPECT_EQ(experts, fixed_experts);
    double value = Dot(weights, dweights);
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < e; ++j) value += balance * fixed_counts[j] * probs[i * e + j];
      value += z * lse[i] * lse[i];
    }
    return value;
  });
}

TEST(Gradient, DispatchAndCombine) {
  const int n = 4, e = 3, k = 2, d = 3, m = n * k;
  const std::vector<int32_t> experts = {2, 0, 0, 2, 2, 1, 0, 1};
  std::vector<int32_t> offsets(e + 1), source(m), inverse(m);
  ref::DispatchPlan(n, e, k, experts.data(), offsets.data(), source.data(), inverse.data());
  EXPECT_EQ(offsets, (std::vector<int32_t>{0, 3, 5, 8}));
  Vec x = RandomVector<double>(n * d, 1), weights = RandomVector<double>(m, 2), rows(m * d), y(n * d);
  const Vec dy = RandomVector<double>(n * d, 3);
  const auto objective = [&] {
    ref::Dispatch(m, d, k, source.data(), x.data(), rows.data());
    std::fill(y.begin(), y.end(), 0.0);
    ref::Combine(n, d, k, inverse.data(), weights.data(), rows.data(), y.data());
    return Dot(y, dy);
  };
  objective();
  Vec drows(m * d), dweights(m), dx(n * d);
  ref::CombineBackward(m, d, k, source.data(), weights.data(), rows.data(), dy.data(), drows.data(), dweights.data());
  ref::DispatchBackward(n, d, k, inverse.data(), drows.data(), dx.data(), false);
  ExpectGradient("dx", x, dx, objective);
  ExpectGradient("dweights", weights, dweights, objective);
}

TEST(Gradient, CrossEntropy) {
  const int n = 3, v = 5;
  Vec logits = RandomVector<double>(n * v, 1), losses(n), dlogits(n * v);
  const std::vector<int32_t> targets = {4, 0, 2};
  ref::CrossEntropy(n, v, logits.data(), targets.data(), 0.7, losses.data(), dlogits.data());
  ExpectGradient("dlogits", logits, dlogits, [&] {
    ref::CrossEntropy<double>(n, v, logits.data(), targets.data(), 1, losses.data(), nullptr);
    return 0.7 * std::accumulate(losses.begin(), losses.end(), 0.0);
  });
}

TEST(Gradient, Embedding) {
  const int n = 4, d = 2;
  const std::vector<int32_t> tokens = {1, 0, 1, 2};  // one id twice: its gradients add up
  Vec w = RandomVector<double>(3 * d, 1), y(n * d), dw(3 * d);
  const Vec dy = RandomVector<double>(n * d, 2);
  ref::EmbeddingBackward(n, d, tokens.data(), dy.data(), dw.data());
  ExpectGradient("dw", w, dw, [&] {
    ref::EmbeddingForward(n, d, tokens.data(), w.data(), y.data());
    return Dot(y, dy);
  });
}

struct ActivationCase {
  ActivationKind kind;
  int order;
};

void PrintTo(const ActivationCase& c, std::ostream* os) {
  *os << Name(c.kind) << " of order " << c.order;
}

class ActivationGradient : public ::testing::TestWithParam<ActivationCase> {};

// Two coefficient sets and an empty group.
TEST_P(ActivationGradient, MatchesDifferences) {
  const Activation a{.kind = GetParam().kind, .order = GetParam().order};
  const int f = 6, rows = 5, width = a.gated() ? 2 * f : f, stride = a.coefficient_count();
  const std::vector<int32_t> offsets = {0, 2, 2, rows};
  const RowGroups groups{3, offsets.data()};
  Vec x = RandomVector<double>(rows * width, 1), c = RandomVector<double>(3 * stride + 1, 2), y(rows * f), dx(rows * width),
      dc(c.size());
  const Vec dy = RandomVector<double>(rows * f, 3);
  // Away from the kink at 0, where relu-like activations have no derivative.
  for (double& v : x) v += v > 0 ? 0.01 : -0.01;
  const auto objective = [&] {
    ref::ActivationForward(a, groups, f, x.data(), c.data(), stride, y.data());
    return Dot(y, dy);
  };
  ref::ActivationBackward(a, groups, f, x.data(), c.data(), stride, dy.data(), dx.data(), dc.data());
  ExpectGradient("dx", x, dx, objective);
  ExpectGradient("dc", c, dc, objective);
}

INSTANTIATE_TEST_SUITE_P(
    All, ActivationGradient,
    ::testing::Values(ActivationCase{ActivationKind::kRelu, 3}, ActivationCase{ActivationKind::kRelu2, 3},
                      ActivationCase{ActivationKind::kGelu, 3}, ActivationCase{ActivationKind::kSwiglu, 3},
                      ActivationCase{ActivationKind::kPolyRelu, 1}, ActivationCase{ActivationKind::kPolyRelu, 3},
                      ActivationCase{ActivationKind::kPolyRelu, 4}, ActivationCase{ActivationKind::kPolyNorm, 1},
                      ActivationCase{ActivationKind::kPolyNorm, 2}, ActivationCase{ActivationKind::kPolyNorm, 3},
                      ActivationCase{ActivationKind::kPolyNorm, 4}, ActivationCase{ActivationKind::kPolyPRelu, 3},
                      ActivationCase{ActivationKind::kPolyPRelu, 4}, ActivationCase{ActivationKind::kPolyReluNorm, 3},
                      ActivationCase{ActivationKind::kPolyReluNorm, 2}),
    [](const auto& info) { return std::string(Name(info.param.kind)) + std::to_string(info.param.order); });

}  // namespace
}  // namespace polymoe
