// Embedding, router and combine of the CPU's table.
#include "tests/kernels/cpu_test.h"

namespace polymoe {
namespace {

template <class E>
class CpuRouting : public CpuTable<E> {};
TYPED_TEST_SUITE(CpuRouting, ElementTypes, ElementName);

template <class E>
struct Routed {
  Floats probs, weights, lse;
  std::vector<int32_t> experts, counts;
  std::vector<double> sums;
  std::vector<E> dlogits;
};

template <class E>
Routed<E> Route(const Ops<E>& ops, int n, int e, int k, const Floats& logits, const Floats& dweights) {
  Routed<E> r{Room<float>(n * e),
              Room<float>(n * k),
              Room<float>(n),
              std::vector<int32_t>(n * k),
              std::vector<int32_t>(e, -1),
              std::vector<double>(e + 2, 7),
              Room<E>(n * e)};
  ops.router_forward(n, e, k, logits.data(), r.probs.data(), r.experts.data(), r.weights.data(), r.lse.data(), r.counts.data(),
                     r.sums.data());
  ops.router_backward(n, e, k, r.probs.data(), r.experts.data(), r.lse.data(), r.counts.data(), dweights.data(), 0.01f, 0.02f,
                      r.dlogits.data());
  return r;
}

TYPED_TEST(CpuRouting, Router) {
  struct Sizes {
    int n, e, k;
  };
  for (const Sizes& sizes : {Sizes{0, 4, 2}, {1, 1, 1}, {67, 8, 2}, {200, 8, 1}, {67, 64, 8}, {9, 5, 5}, {130, 17, 3}}) {
    const int n = sizes.n, e = sizes.e, k = sizes.k;  // clang-tidy-14 cannot capture structured bindings
    SCOPED_TRACE(testing::Message() << n << " tokens, " << k << " of " << e);
    // Far from 0, where what absent lanes hold would be larger.
    Floats logits = RandomVector<float>(n * e, 1);
    for (float& v : logits) v -= 20;
    const Floats dweights = RandomVector<float>(n * k, 2);
    const auto want = Route(RefOps<TypeParam>(), n, e, k, logits, dweights),
               got = Route(CpuOps<TypeParam>(), n, e, k, logits, dweights);
    EXPECT_EQ(got.experts, want.experts);
    EXPECT_EQ(got.counts, want.counts);
    ASSERT_NO_FATAL_FAILURE(ExpectClose("probs", got.probs, want.probs, e));
    ExpectClose("weights", got.weights, want.weights, e);
    ExpectClose("lse", got.lse, want.lse, e);
    // Sums of counts and dweights, which cancel: with one expert to 0.
    ExpectClose("dlogits", got.dlogits, want.dlogits, e, 3 + 0.01 * n);
    for (int j = 0; j < e + 2; ++j)
      EXPECT_NEAR(got.sums[j], want.sums[j], 1e-5 * (n + std::abs(want.sums[j]))) << "sums[" << j << "]";
  }
}

TYPED_TEST(CpuRouting, TiesGoToTheLowerIndex) {
  const Floats logits = {1, 3, 3, 2, 3, 0};
  this->OnBoth([&](const auto& ops, int) {
    EXPECT_EQ(Route(ops, 1, 6, 3, logits, Floats(3)).experts, (std::vector<int32_t>{1, 2, 4})) << ops.name;
  });
}

// Token i's rows, of n tokens over 4 of 5 experts.
std::vector<int32_t> Inverse(int n, int k) {
  const int m = n * k;
  std::vector<int32_t> experts(m), offsets(6), source(m), tokens(m), inverse(m);
  for (int i = 0; i < m; ++i) experts[i] = (i * 7 + i / k) % 4;
  CpuOps<float>().dispatch_plan(n, 0, 5, k, experts.data(), offsets.data(), source.data(), tokens.data(), inverse.data());
  return inverse;
}

TEST(DispatchPlan, RoutesToTheExpertsOfItsRangeAlone) {
  // Token 0: experts 4, 1; token 1: 2, 3; token 2: 3, 0; token 3: 1, 3.
  const std::vector<int32_t> experts = {4, 1, 2, 3, 3, 0, 1, 3};
  std::vector<int32_t> offsets(3), source(8, -7), tokens(8, -7), inverse(8, -7);
  CpuOps<float>().dispatch_plan(4, 2, 2, 2, experts.data(), offsets.data(), source.data(), tokens.data(), inverse.data());
  EXPECT_EQ(offsets, (std::vector<int32_t>{0, 1, 4}));
  EXPECT_EQ(source, (std::vector<int32_t>{2, 3, 4, 7, -7, -7, -7, -7}));
  EXPECT_EQ(tokens, (std::vector<int32_t>{1, 1, 2, 3, -7, -7, -7, -7}));
  EXPECT_EQ(inverse, (std::vector<int32_t>{-1, -1, 0, 1, 2, -1, -1, 3}));
}

TEST(DispatchPlan, OfExpertsWithoutTokensIsEmpty) {
  const std::vector<int32_t> experts = {0, 1};
  std::vector<int32_t> offsets(3, -7), source(2), tokens(2), inverse(2);
  CpuOps<float>().dispatch_plan(1, 6, 2, 2, experts.data(), offsets.data(), source.data(), tokens.data(), inverse.data());
  EXPECT_EQ(offsets, (std::vector<int32_t>{0, 0, 0}));
  EXPECT_EQ(inverse, (std::vector<int32_t>{-1, -1}));
}

TYPED_TEST(CpuRouting, GatherAndCombineRows) {
  using E = TypeParam;
  for (const int d : kWidths) {
    SCOPED_TRACE(testing::Message() << "width " << d);
    const int n = 131, k = 3;  // more than one task
    std::vector<int32_t> rows(n);
    for (int i = 0; i < n; ++i) rows[i] = i * 5 % 40;
    // Every fourth choice is elsewhere, and so are all of every eleventh token.
    std::vector<int32_t> inverse = Inverse(n, k);
    for (int i = 0; i < n * k; ++i) {
      if (i % 4 == 0 || i / k % 11 == 0) inverse[i] = -1;
    }
    const auto x = RandomVector<E>(n * k * d, 3);
    std::vector<E> gathered[2], sums[2];
    this->OnBoth([&](const Ops<E>& ops, int t) {
      gathered[t] = Room<E>(n * d);
      sums[t] = Room<E>(n * d);
      ops.gather(n, d, rows.data(), x.data(), gathered[t].data());
      ops.combine_rows(n, d, k, inverse.data(), x.data(), sums[t].data());
    });
    EXPECT_TRUE(SameBits(gathered[1], gathered[0]));
    ExpectClose("sums", sums[1], sums[0], k + 1);
    for (int c = 0; c < d; ++c) EXPECT_EQ(static_cast<float>(sums[1][c]), 0.0f) << "of no rows at all";
  }
}

TYPED_TEST(CpuRouting, Combine) {
  using E = TypeParam;
  for (const int k : {1, 3}) {
    for (const int d : kWidths) {
      SCOPED_TRACE(testing::Message() << "k " << k << " width " << d);
      const int n = 37;
      const std::vector<int32_t> inverse = Inverse(n, k);
      const auto rows = RandomVector<E>(n * k * d, 1);
      const Floats residual = RandomVector<float>(n * d, 2);
      for (const bool add : {true, false}) {
        Floats y[2];
        this->OnBoth([&](const Ops<E>& ops, int t) {
          y[t] = Room<float>(n * d);
          ops.combine(n, d, k, inverse.data(), rows.data(), add ? residual.data() : nullptr, y[t].data());
        });
        ExpectClose("y", y[1], y[0], k + 1);
        if (!add) continue;
        Floats alias = Bordered(residual);  // residual may be y
        CpuOps<E>().combine(n, d, k, inverse.data(), rows.data(), alias.data(), alias.data());
        EXPECT_TRUE(SameBits(alias, y[1]));
      }
    }
  }
}

TYPED_TEST(CpuRouting, Embedding) {
  for (const int d : kWidths) {
    const int n = 50, ids = 7;
    std::vector<int32_t> tokens(n);
    for (int i = 0; i < n; ++i) tokens[i] = i * i % ids;  // repeated, and some never
    const Floats w = RandomVector<float>(ids * d, 1), dy = RandomVector<float>(n * d, 2);
    Floats y[2], dw[2];
    this->OnBoth([&](const auto& ops, int t) {
      y[t] = Room<float>(n * d), dw[t] = Bordered(RandomVector<float>(ids * d, 3));
      ops.embedding_forward(n, d, tokens.data(), w.data(), y[t].data());
      ops.embedding_backward(n, d, tokens.data(), dy.data(), dw[t].data());
    });
    EXPECT_TRUE(SameBits(y[1], y[0]));
    EXPECT_TRUE(SameBits(dw[1], dw[0])) << "each sum is in the order of the tokens";
  }
}

TYPED_TEST(CpuRouting, TheSameBitsWithAnyThreads) {
  using E = TypeParam;
  const int n = 500, e = 12, k = 3, d = 100;
  const Floats logits = RandomVector<float>(n * e, 1), dweights = RandomVector<float>(n * k, 2), dy = RandomVector<float>(n * d, 3);
  const std::vector<int32_t> inverse = Inverse(n, k);
  const auto rows = RandomVector<E>(n * k * d, 4);
  std::vector<int32_t> tokens(n);
  for (int i = 0; i < n; ++i) tokens[i] = i * 13 % 31;
  ExpectSameBitsWithAnyThreads([&] {
    const auto r = Route(CpuOps<E>(), n, e, k, logits, dweights);
    Floats y(n * d), dw(31 * d);
    CpuOps<E>().combine(n, d, k, inverse.data(), rows.data(), nullptr, y.data());
    CpuOps<E>().embedding_backward(n, d, tokens.data(), dy.data(), dw.data());
    return Bytes(r.probs, r.experts, r.weights, r.lse, r.counts, r.sums, r.dlogits, y, dw);
  });
}

}  // namespace
}  // namespace polymoe
