// The CPU table against the reference over sizes around the vector width, and what ops.h promises beyond values: aliasing, empty sizes,
// the same bits at each call and at any number of threads.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "tests/kernels/activation_names.h"
#include "tests/kernels/error_bounds.h"
#include "tests/kernels/random_data.h"

namespace polymoe {
namespace {

using Floats = std::vector<float>;

const int kWidths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 513, 1536};
const int kRowCounts[] = {0, 1, 5, 67};

void ExpectClose(const char* what, const Floats& got, const Floats& want, int terms, double magnitude = 0) {
  ASSERT_EQ(got.size(), want.size());
  double largest = magnitude;
  for (const float w : want) largest = std::max(largest, std::abs(static_cast<double>(w)));
  const double tolerance = Tolerance(largest, terms);
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance) << what << "[" << i << "]";
}

// Runs `f` on both tables; each run fills its own outputs.
template <class F>
void OnBoth(const F& f) {
  f(RefOps(), 0);
  f(CpuOps(), 1);
}

TEST(Cpu, Linear) {
  for (const int m : kRowCounts) {
    for (const int n : {1, 17, 33}) {
      for (const int k : {1, 31, 513}) {
        SCOPED_TRACE(testing::Message() << m << "x" << n << "x" << k);
        const Floats x = RandomVector<float>(m * k, 1), w = RandomVector<float>(n * k, 2), dy = RandomVector<float>(m * n, 3);
        Floats y[2], dx[2], dw[2];
        OnBoth([&](const Ops& ops, int t) {
          y[t].resize(m * n);
          dx[t] = RandomVector<float>(m * k, 4);
          dw[t] = RandomVector<float>(n * k, 5);
          ops.linear_forward(m, n, k, x.data(), w.data(), y[t].data());
          ops.linear_backward_input(m, n, k, dy.data(), w.data(), dx[t].data(), true);
          ops.linear_backward_weight(m, n, k, dy.data(), x.data(), dw[t].data());
        });
        ExpectClose("y", y[1], y[0], k);
        ExpectClose("dx", dx[1], dx[0], n);
        ExpectClose("dw", dw[1], dw[0], m + 1);
      }
    }
  }
}

TEST(Cpu, GroupedLinearWithEmptyGroups) {
  const int n = 9, k = 17;
  for (const std::vector<int32_t>& offsets :
       std::vector<std::vector<int32_t>>{{0, 0, 5, 5, 12}, {0, 12, 12, 12, 12}, {0, 0, 0, 0, 0}}) {
    const RowGroups groups{4, offsets.data()};
    const int m = offsets.back();
    const Floats x = RandomVector<float>(m * k, 1), w = RandomVector<float>(4 * n * k, 2), dy = RandomVector<float>(m * n, 3);
    Floats y[2], dx[2], dw[2];
    OnBoth([&](const Ops& ops, int t) {
      y[t].resize(m * n);
      dx[t].resize(m * k);
      dw[t] = RandomVector<float>(4 * n * k, 4);
      ops.grouped_linear_forward(groups, n, k, x.data(), w.data(), y[t].data());
      ops.grouped_linear_backward_input(groups, n, k, dy.data(), w.data(), dx[t].data());
      ops.grouped_linear_backward_weight(groups, n, k, dy.data(), x.data(), dw[t].data());
    });
    ExpectClose("y", y[1], y[0], k);
    ExpectClose("dx", dx[1], dx[0], n);
    ExpectClose("dw", dw[1], dw[0], m + 1);
  }
}

TEST(Cpu, RmsNorm) {
  for (const int rows : kRowCounts) {
    for (const int d : kWidths) {
      SCOPED_TRACE(testing::Message() << rows << "x" << d);
      const Floats x = RandomVector<float>(rows * d, 1), w = RandomVector<float>(d, 2), dy = RandomVector<float>(rows * d, 3);
      Floats y[2], rstd[2], dx[2], dw[2];
      OnBoth([&](const Ops& ops, int t) {
        y[t].resize(rows * d);
        rstd[t].resize(rows);
        dx[t] = RandomVector<float>(rows * d, 4);
        dw[t] = RandomVector<float>(d, 5);
        ops.rmsnorm_forward(rows, d, 1e-5f, x.data(), w.data(), y[t].data(), rstd[t].data());
        ops.rmsnorm_backward(rows, d, x.data(), w.data(), rstd[0].data(), dy.data(), dx[t].data(), true, dw[t].data());
      });
      ExpectClose("y", y[1], y[0], d);
      ExpectClose("rstd", rstd[1], rstd[0], d);
      ExpectClose("dx", dx[1], dx[0], d);
      ExpectClose("dw", dw[1], dw[0], rows + 1);
    }
  }
}

TEST(Cpu, Rope) {
  for (const int head_dim : {2, 6, 16, 34}) {
    const int b = 2, t = 70, heads = 3;
    Floats x[2];
    OnBoth([&](const Ops& ops, int i) {
      x[i] = RandomVector<float>(b * t * heads * head_dim, 1);
      ops.rope(b, t, heads, head_dim, 10000.0f, false, x[i].data());
    });
    ExpectClose("rope", x[1], x[0], 4);
    CpuOps().rope(b, t, heads, head_dim, 10000.0f, true, x[1].data());
    ExpectClose("inverse", x[1], RandomVector<float>(b * t * heads * head_dim, 1), 8);
  }
}

TEST(Cpu, Attention) {
  for (const int t : {1, 2, 127, 128, 129, 300}) {  // around the tile of 128 rows
    const int b = 2, heads = 2, head_dim = t < 200 ? 6 : 16;
    SCOPED_TRACE(t);
    const int64_t size = int64_t{b} * t * heads * head_dim;
    const Floats q = RandomVector<float>(size, 1), k = RandomVector<float>(size, 2), v = RandomVector<float>(size, 3),
                 dy = RandomVector<float>(size, 4);
    Floats y[2], lse[2], dq[2], dk[2], dv[2];
    OnBoth([&](const Ops& ops, int i) {
      for (Floats* tensor : {&y[i], &dq[i], &dk[i], &dv[i]}) tensor->assign(size, NAN);  // every element must be written
      lse[i].resize(b * heads * t);
      ops.attention_forward(b, t, heads, head_dim, q.data(), k.data(), v.data(), y[i].data(), lse[i].data());
      ops.attention_backward(b, t, heads, head_dim, q.data(), k.data(), v.data(), y[i].data(), lse[i].data(), dy.data(),
                             dq[i].data(), dk[i].data(), dv[i].data());
    });
    ExpectClose("y", y[1], y[0], t);
    ExpectClose("lse", lse[1], lse[0], t);
    // dscore = p (dp - delta) is a difference of terms of order 1: with one position it is exactly 0.
    ExpectClose("dq", dq[1], dq[0], t * 4, 1);
    ExpectClose("dk", dk[1], dk[0], t * 4, 1);
    ExpectClose("dv", dv[1], dv[0], t * 4);
  }
}

TEST(Cpu, Router) {
  struct Sizes {
    int n, e, k;
  };
  for (const Sizes& sizes : {Sizes{0, 4, 2}, {1, 1, 1}, {67, 8, 2}, {67, 64, 8}, {9, 5, 5}}) {
    const int n = sizes.n, e = sizes.e, k = sizes.k;  // clang-tidy-14 cannot capture structured bindings
    const Floats logits = RandomVector<float>(n * e, 1), dweights = RandomVector<float>(n * k, 2);
    Floats probs[2], weights[2], lse[2], dlogits[2];
    std::vector<int32_t> experts[2], counts[2];
    OnBoth([&](const Ops& ops, int t) {
      probs[t].resize(n * e), weights[t].resize(n * k), lse[t].resize(n), dlogits[t].resize(n * e);
      experts[t].resize(n * k), counts[t].assign(e, -1);
      ops.router_forward(n, e, k, logits.data(), probs[t].data(), experts[t].data(), weights[t].data(), lse[t].data(),
                         counts[t].data());
      ops.router_backward(n, e, k, probs[t].data(), experts[t].data(), lse[t].data(), counts[t].data(), dweights.data(), 0.01f,
                          0.02f, dlogits[t].data());
    });
    EXPECT_EQ(experts[1], experts[0]);
    EXPECT_EQ(counts[1], counts[0]);
    ExpectClose("probs", probs[1], probs[0], e);
    ExpectClose("weights", weights[1], weights[0], e);
    ExpectClose("dlogits", dlogits[1], dlogits[0], e);
  }
}

TEST(Cpu, RouterTiesGoToTheLowerIndex) {
  const Floats logits = {1, 3, 3, 2, 3, 0};
  OnBoth([&](const Ops& ops, int) {
    Floats probs(6), weights(3), lse(1);
    std::vector<int32_t> experts(3), counts(6);
    ops.router_forward(1, 6, 3, logits.data(), probs.data(), experts.data(), weights.data(), lse.data(), counts.data());
    EXPECT_EQ(experts, (std::vector<int32_t>{1, 2, 4})) << ops.name;
  });
}

TEST(Cpu, DispatchAndCombine) {
  const int n = 37, e = 5, k = 3, m = n * k;
  for (const int d : {1, 16, 33}) {
    std::vector<int32_t> experts(m), offsets(e + 1), source(m), inverse(m);
    for (int i = 0; i < m; ++i) experts[i] = (i * 7 + i / k) % 4;  // expert 4 gets nothing
    CpuOps().dispatch_plan(n, e, k, experts.data(), offsets.data(), source.data(), inverse.data());
    EXPECT_EQ(offsets[4], offsets[5]);
    const Floats x = RandomVector<float>(n * d, 1), weights = RandomVector<float>(m, 2), dy = RandomVector<float>(n * d, 3);
    Floats rows[2], y[2], drows[2], dweights[2], dx[2];
    OnBoth([&](const Ops& ops, int t) {
      rows[t].resize(m * d), drows[t].resize(m * d), dweights[t].resize(m);
      y[t] = RandomVector<float>(n * d, 4), dx[t] = RandomVector<float>(n * d, 5);
      ops.dispatch(m, d, k, source.data(), x.data(), rows[t].data());
      ops.combine(n, d, k, inverse.data(), weights.data(), rows[t].data(), y[t].data());
      ops.combine_backward(m, d, k, source.data(), weights.data(), rows[t].data(), dy.data(), drows[t].data(), dweights[t].data());
      ops.dispatch_backward(n, d, k, inverse.data(), drows[t].data(), dx[t].data(), true);
    });
    EXPECT_EQ(rows[1], rows[0]);
    ExpectClose("y", y[1], y[0], k);
    ExpectClose("drows", drows[1], drows[0], 1);
    ExpectClose("dweights", dweights[1], dweights[0], d);
    ExpectClose("dx", dx[1], dx[0], k);
  }
}

class CpuActivation : public ::testing::TestWithParam<ActivationKind> {};

TEST_P(CpuActivation, MatchesTheReferenceAtEveryWidth) {
  for (int order = 1; order <= 4; ++order) {
    const Activation a{.kind = GetParam(), .order = order};
    for (const int f : kWidths) {
      SCOPED_TRACE(testing::Message() << "order " << order << " width " << f);
      const std::vector<int32_t> offsets = {0, 0, 3, 19};
      const RowGroups groups{3, offsets.data()};
      const int rows = 19, width = a.gated() ? 2 * f : f;
      for (const int stride : {0, a.coefficient_count()}) {
        const Floats x = RandomVector<float>(rows * width, 1), c = RandomVector<float>(3 * a.coefficient_count() + 1, 2),
                     dy = RandomVector<float>(rows * f, 3);
        Floats y[2], dx[2], dc[2];
        OnBoth([&](const Ops& ops, int t) {
          y[t].resize(rows * f), dx[t].resize(rows * width), dc[t] = RandomVector<float>(c.size(), 4);
          ops.activation_forward(a, groups, f, x.data(), c.data(), stride, y[t].data());
          ops.activation_backward(a, groups, f, x.data(), c.data(), stride, dy.data(), dx[t].data(), dc[t].data());
        });
        ExpectClose("y", y[1], y[0], f);
        ExpectClose("dx", dx[1], dx[0], f, LargestTerm(a, groups, f, x.data(), c.data(), stride, dy.data()));
        ExpectClose("dc", dc[1], dc[0], rows * f);
        if (a.gated()) continue;
        Floats alias = dy, again(c.size());  // dx may be dy
        CpuOps().activation_backward(a, groups, f, x.data(), c.data(), stride, alias.data(), alias.data(), again.data());
        EXPECT_EQ(alias, dx[1]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CpuActivation,
                         ::testing::Values(ActivationKind::kRelu, ActivationKind::kRelu2, ActivationKind::kGelu,
                                           ActivationKind::kSwiglu, ActivationKind::kPolyRelu, ActivationKind::kPolyNorm,
                                           ActivationKind::kPolyPRelu, ActivationKind::kPolyReluNorm),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST(Cpu, CrossEntropy) {
  for (const int v : {1, 2, 17, 1000}) {
    const int n = 9;
    const Floats logits = RandomVector<float>(n * v, 1, 3);
    std::vector<int32_t> targets(n);
    for (int i = 0; i < n; ++i) targets[i] = i * 31 % v;
    Floats losses[2], dlogits[2];
    OnBoth([&](const Ops& ops, int t) {
      losses[t].resize(n);
      dlogits[t] = logits;  // in place
      ops.cross_entropy(n, v, dlogits[t].data(), targets.data(), 0.5f, losses[t].data(), dlogits[t].data());
    });
    ExpectClose("losses", losses[1], losses[0], v);
    ExpectClose("dlogits", dlogits[1], dlogits[0], 16);
    Floats evaluated(n);
    CpuOps().cross_entropy(n, v, logits.data(), targets.data(), 0, evaluated.data(), nullptr);
    EXPECT_EQ(evaluated, losses[1]);
  }
}

TEST(Cpu, VectorsAndAdamW) {
  for (const int n : {0, 1, 17, 8192, 8193, 20000}) {
    const Floats x = RandomVector<float>(n, 1), grad = RandomVector<float>(n, 2);
    const AdamWParams params{1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f, 0.19f, 0.0975f};
    Floats y[2], p[2], m[2], v[2];
    OnBoth([&](const Ops& ops, int t) {
      y[t] = RandomVector<float>(n, 3), p[t] = x, m[t] = RandomVector<float>(n, 4, 0.1), v[t] = Floats(n, 0.01f);
      ops.add(n, x.data(), y[t].data());
      ops.adamw(n, params, grad.data(), p[t].data(), m[t].data(), v[t].data());
    });
    EXPECT_EQ(y[1], y[0]);
    ExpectClose("p", p[1], p[0], 4);
    ExpectClose("m", m[1], m[0], 4);
    ExpectClose("v", v[1], v[0], 4);
    EXPECT_NEAR(CpuOps().sum_squares(n, x.data()), RefOps().sum_squares(n, x.data()), 1e-6 * (n + 1));
  }
}

TEST(Cpu, AdamWByHand) {
  // One step from zero moments: m_hat = g, v_hat = g^2, so p moves by lr (weight decay aside) against the sign of g.
  float p = 2, m = 0, v = 0;
  const float g = -0.5f;
  CpuOps().adamw(1, {0.1f, 0.9f, 0.95f, 0, 0.01f, 1, 1 - 0.9f, 1 - 0.95f}, &g, &p, &m, &v);
  EXPECT_NEAR(p, 2 - 0.1 * 0.01 * 2 + 0.1, 1e-6);
  EXPECT_NEAR(m, -0.05, 1e-7);
  EXPECT_NEAR(v, 0.0125, 1e-7);
}

TEST(Cpu, TheSameBitsAtAnyNumberOfThreads) {
  const int rows = 300, d = 192;
  const Floats x = RandomVector<float>(rows * d, 1), w = RandomVector<float>(d, 2), dy = RandomVector<float>(rows * d, 3);
  const int32_t offsets[] = {0, rows};
  const Floats c = {0.3f, 0.3f, 0.3f, 0};
  const int before = omp_get_max_threads();
  std::vector<Floats> results;
  for (const int threads : {1, 2, 2, 3}) {
    omp_set_num_threads(threads);
    Floats all, y(rows * d), rstd(rows), dx(rows * d), dw(d), dc(4);
    CpuOps().rmsnorm_forward(rows, d, 1e-5f, x.data(), w.data(), y.data(), rstd.data());
    CpuOps().rmsnorm_backward(rows, d, x.data(), w.data(), rstd.data(), dy.data(), dx.data(), false, dw.data());
    CpuOps().activation_backward({.kind = ActivationKind::kPolyNorm}, {1, offsets}, d, x.data(), c.data(), 0, dy.data(), y.data(),
                                 dc.data());
    for (const Floats* part : {&y, &rstd, &dx, &dw, &dc}) all.insert(all.end(), part->begin(), part->end());
    all.push_back(static_cast<float>(CpuOps().sum_squares(rows * d, x.data())));
    results.push_back(std::move(all));
  }
  omp_set_num_threads(before);
  for (size_t i = 1; i < results.size(); ++i) {
    EXPECT_EQ(std::memcmp(results[i].data(), results[0].data(), results[0].size() * sizeof(float)), 0) << i;
  }
}

}  // namespace
}  // namespace polymoe
