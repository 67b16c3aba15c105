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

// Two groups and an empty one, gathered rows on both sides; and without gathers, onto a residual.
TEST(Gradient, Linear) {
  const int n = 4, k = 5, m = 3;
  const std::vector<int32_t> offsets = {0, 1, 1, m}, x_rows = {3, 0, 3}, dy_rows = {1, 0, 1};
  const RowGroups groups{3, offsets.data()};
  Vec x = RandomVector<double>(4 * k, 1), w = RandomVector<double>(3 * n * k, 2), dx(m * k), dw(w.size()), y(m * n);
  const Vec dy = RandomVector<double>(2 * n, 3);
  const auto objective = [&] {
    ref::Linear(groups, n, k, x.data(), x_rows.data(), w.data(), y.data());
    double value = 0;
    for (int r = 0; r < m; ++r) value += std::inner_product(&y[r * n], &y[r * n] + n, &dy[dy_rows[r] * n], 0.0);
    return value;
  };
  ref::LinearBackwardInput(groups, n, k, dy.data(), dy_rows.data(), w.data(), dx.data());
  Vec scattered(x.size());
  for (int r = 0; r < m; ++r) {
    for (int p = 0; p < k; ++p) scattered[x_rows[r] * k + p] += dx[r * k + p];
  }
  ref::LinearBackwardWeight(groups, n, k, dy.data(), dy_rows.data(), x.data(), x_rows.data(), false, dw.data());
  ExpectGradient("dx", x, scattered, objective);
  ExpectGradient("dw", w, dw, objective);
}

TEST(Gradient, LinearFp32) {
  const int n = 4, k = 5, m = 3;
  const std::vector<int32_t> offsets = {0, m};
  const RowGroups groups{1, offsets.data()};
  Vec x = RandomVector<double>(m * k, 1), w = RandomVector<double>(n * k, 2), residual = RandomVector<double>(m * n, 3), y(m * n);
  const Vec dy = RandomVector<double>(m * n, 4), before = RandomVector<double>(m * k, 5);
  const auto objective = [&] {
    ref::LinearFp32(groups, n, k, x.data(), w.data(), residual.data(), y.data());
    return Dot(y, dy);
  };
  Vec dx = before;
  ref::LinearBackwardInputFp32(groups, n, k, dy.data(), w.data(), true, dx.data());
  for (size_t i = 0; i < dx.size(); ++i) dx[i] -= before[i];
  ExpectGradient("dx", x, dx, objective);
  ExpectGradient("dresidual", residual, dy, objective);
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
  Vec rounded(rows * d);
  ref::RmsNormBackward(rows, d, x.data(), w.data(), rstd.data(), dy.data(), dx.data(), false, rounded.data(), dw.data());
  EXPECT_EQ(rounded, dx);
  ExpectGradient("dx", x, dx, objective);
  ExpectGradient("dw", w, dw, objective);
}

TEST(Gradient, Qk) {
  const AttentionShape shape{2, 3, 2, 4};
  const int n = shape.tokens(), d = shape.width();
  Vec qkv = RandomVector<double>(n * 3 * d, 1), wq = RandomVector<double>(d, 2), wk = RandomVector<double>(d, 3), qk(n * 2 * d),
      rstd(n * 2);
  const Vec dqk = RandomVector<double>(n * 2 * d, 4);
  std::vector<float> table(shape.length * shape.head_dim);
  RopeTable(shape.length, shape.head_dim, 100, table.data());
  const Vec rope(table.begin(), table.end());
  for (const bool norm : {true, false}) {
    const auto objective = [&] {
      ref::QkForward(shape, 1e-5, rope.data(), qkv.data(), norm ? wq.data() : nullptr, norm ? wk.data() : nullptr, qk.data(),
                     rstd.data());
      return Dot(qk, dqk);
    };
    objective();
    Vec dqkv(n * 3 * d), dwq(d), dwk(d);  // the gradient of v stays 0
    for (int r = 0; r < n; ++r) std::copy_n(&dqk[r * 2 * d], 2 * d, &dqkv[r * 3 * d]);
    ref::QkBackward(shape, rope.data(), qkv.data(), norm ? wq.data() : nullptr, norm ? wk.data() : nullptr, rstd.data(),
                    dqkv.data(), dwq.data(), dwk.data());
    ExpectGradient("dqkv", qkv, dqkv, objective);
    ExpectGradient("dwq", wq, dwq, objective);
    ExpectGradient("dwk", wk, dwk, objective);
  }
}

// The angles, and which columns are a pair; a turn keeps lengths.
TEST(Gradient, RopeTurnsPairsByTheirAngles) {
  const AttentionShape shape{1, 3, 2, 4};
  const int d = shape.width();
  std::vector<float> table(shape.length * shape.head_dim);
  RopeTable(shape.length, shape.head_dim, 100, table.data());
  const Vec rope(table.begin(), table.end()), qkv = RandomVector<double>(shape.tokens() * 3 * d, 1);
  Vec qk(shape.tokens() * 2 * d);
  ref::QkForward<double>(shape, 0, rope.data(), qkv.data(), nullptr, nullptr, qk.data(), nullptr);
  for (int t = 0; t < shape.length; ++t) {
    for (int j = 0; j < 2; ++j) {
      const int at = shape.head_dim + j;  // of the second head
      const double angle = t * (j == 0 ? 1 : 0.1), a = qkv[t * 3 * d + at], b = qkv[t * 3 * d + at + 2];
      EXPECT_NEAR(qk[t * 2 * d + at], a * std::cos(angle) - b * std::sin(angle), 1e-6);
      EXPECT_NEAR(qk[t * 2 * d + at + 2], b * std::cos(angle) + a * std::sin(angle), 1e-6);
    }
  }
}

TEST(Gradient, Attention) {
  const AttentionShape shape{2, 4, 2, 3};
  const int n = shape.tokens(), d = shape.width();
  Vec qk = RandomVector<double>(n * 2 * d, 1), qkv = RandomVector<double>(n * 3 * d, 2), y(n * d), lse(n * shape.heads),
      dqkv(n * 3 * d);
  const Vec dy = RandomVector<double>(n * d, 3);
  const auto objective = [&] {
    ref::AttentionForward(shape, qk.data(), qkv.data(), y.data(), lse.data());
    return Dot(y, dy);
  };
  objective();
  ref::AttentionBackward(shape, qk.data(), qkv.data(), y.data(), lse.data(), dy.data(), dqkv.data());
  Vec dqk(n * 2 * d), dv(n * 3 * d);
  for (int r = 0; r < n; ++r) {
    std::copy_n(&dqkv[r * 3 * d], 2 * d, &dqk[r * 2 * d]);
    std::copy_n(&dqkv[r * 3 * d] + 2 * d, d, &dv[r * 3 * d] + 2 * d);
  }
  ExpectGradient("dqk", qk, dqk, objective);
  ExpectGradient("dv", qkv, dv, objective);
}

TEST(Gradient, Router) {
  const int n = 4, e = 5, k = 2;
  const double balance = 0.3, z = 0.2;
  Vec logits = RandomVector<double>(n * e, 1), probs(n * e), weights(n * k), lse(n), dlogits(n * e);
  const Vec dweights = RandomVector<double>(n * k, 2);
  std::vector<int32_t> experts(n * k), counts(e);
  std::vector<double> sums(e + 2);
  // Counts are not differentiated: the objective uses those of the unperturbed logits.
  ref::RouterForward(n, e, k, logits.data(), probs.data(), experts.data(), weights.data(), lse.data(), counts.data(), sums.data());
  const std::vector<int32_t> fixed_counts = counts, fixed_experts = experts;
  ref::RouterBackward(n, e, k, probs.data(), experts.data(), lse.data(), counts.data(), dweights.data(), balance, z,
                      dlogits.data());
  ExpectGradient("dlogits", logits, dlogits, [&] {
    ref::RouterForward(n, e, k, logits.data(), probs.data(), experts.data(), weights.data(), lse.data(), counts.data(),
                       sums.data());
    EXPECT_EQ(experts, fixed_experts);
    double value = Dot(weights, dweights);
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < e; ++j) value += balance * fixed_counts[j] * probs[i * e + j];
      value += z * lse[i] * lse[i];
    }
    return value;
  });
}

TEST(Gradient, RouterSums) {
  const int n = 3, e = 4, k = 2;
  const Vec logits = RandomVector<double>(n * e, 1);
  Vec probs(n * e), weights(n * k), lse(n), sums(e + 2, 7.0), want(e + 2);
  std::vector<int32_t> experts(n * k), counts(e);
  ref::RouterForward(n, e, k, logits.data(), probs.data(), experts.data(), weights.data(), lse.data(), counts.data(), sums.data());
  for (int i = 0; i < n; ++i) {
    want[e] += lse[i] * lse[i];
    for (int j = 0; j < e; ++j) {
      const double p = probs[i * e + j];
      want[j] += p;
      want[e + 1] -= p * std::log(p);
    }
  }
  for (int j = 0; j < e + 2; ++j) EXPECT_NEAR(sums[j], want[j], 1e-12) << j;
}

TEST(Gradient, PlanAndCombine) {
  const int n = 4, e = 3, k = 2, d = 3, m = n * k;
  const std::vector<int32_t> experts = {2, 0, 0, 2, 2, 1, 0, 1};
  std::vector<int32_t> offsets(e + 1), source(m), tokens(m), inverse(m);
  ref::DispatchPlan(n, 0, e, k, experts.data(), offsets.data(), source.data(), tokens.data(), inverse.data());
  EXPECT_EQ(offsets, (std::vector<int32_t>{0, 3, 5, 8}));
  EXPECT_EQ(source, (std::vector<int32_t>{1, 2, 6, 5, 7, 0, 3, 4}));
  EXPECT_EQ(tokens, (std::vector<int32_t>{0, 1, 3, 2, 3, 0, 1, 2}));
  for (int r = 0; r < m; ++r) EXPECT_EQ(inverse[source[r]], r);
  Vec rows = RandomVector<double>(m * d, 1), residual = RandomVector<double>(n * d, 2), y(n * d);
  const Vec dy = RandomVector<double>(n * d, 3);
  // The gradient of row r is that of its token, which the products behind it gather.
  Vec drows(m * d);
  for (int r = 0; r < m; ++r) std::copy_n(&dy[tokens[r] * d], d, &drows[r * d]);
  const auto objective = [&] {
    ref::Combine(n, d, k, inverse.data(), rows.data(), residual.data(), y.data());
    return Dot(y, dy);
  };
  ExpectGradient("drows", rows, drows, objective);
  ExpectGradient("dresidual", residual, dy, objective);
}

TEST(Gradient, CrossEntropy) {
  const int n = 3, v = 5;
  Vec logits = RandomVector<double>(n * v, 1), losses(n), dlogits(n * v);
  const std::vector<int32_t> targets = {4, 0, 2};
  ref::CrossEntropy(n, v, logits.data(), targets.data(), 0.7, losses.data(), dlogits.data());
  ExpectGradient("dlogits", logits, dlogits, [&] {
    ref::CrossEntropy<double, double>(n, v, logits.data(), targets.data(), 1, losses.data(), nullptr);
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

// Two coefficient sets and an empty group, with row weights and without.
TEST_P(ActivationGradient, MatchesDifferences) {
  const Activation a{.kind = GetParam().kind, .order = GetParam().order};
  const int f = 6, rows = 5, width = a.gated() ? 2 * f : f, stride = a.coefficient_count();
  const std::vector<int32_t> offsets = {0, 2, 2, rows}, source = {3, 0, 4, 1, 2};
  const RowGroups groups{3, offsets.data()};
  std::vector<float> weights = RandomVector<float>(rows, 4);
  for (const RowWeights row_weights : {RowWeights{}, RowWeights{weights.data(), source.data()}}) {
    Vec x = RandomVector<double>(rows * width, 1), c = RandomVector<double>(3 * stride + 1, 2), y(rows * f), dx(rows * width),
        dc(c.size()), dweights(rows);
    const Vec dy = RandomVector<double>(rows * f, 3);
    // Away from the kink at 0, where relu-like activations have no derivative.
    for (double& v : x) v += v > 0 ? 0.01 : -0.01;
    const auto objective = [&] {
      ref::ActivationForward(a, groups, f, x.data(), c.data(), stride, row_weights, y.data());
      return Dot(y, dy);
    };
    ref::ActivationBackward(a, groups, f, x.data(), c.data(), stride, row_weights, dy.data(), dx.data(), dweights.data(),
                            dc.data());
    ExpectGradient("dx", x, dx, objective);
    ExpectGradient("dc", c, dc, objective);
    // Weights are floats, so the step is one that floats take exactly; y is linear in them, and any step serves.
    for (int i = 0; i < rows; ++i) {
      const float saved = weights[i];
      weights[i] = 2;
      const double above = objective();
      weights[i] = -1;
      const double below = objective();
      weights[i] = saved;
      EXPECT_NEAR(dweights[i], (above - below) / 3, 1e-10) << "dweights[" << i << "]";
    }
  }
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
