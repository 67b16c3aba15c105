// Attention of the CPU's table, and what stands before it.
#include "tests/kernels/cpu_test.h"

namespace polymoe {
namespace {

template <class E>
class CpuAttention : public CpuTable<E> {};
TYPED_TEST_SUITE(CpuAttention, ElementTypes, ElementName);

Floats Rope(const AttentionShape& shape) {
  Floats rope(int64_t{shape.length} * shape.head_dim);
  RopeTable(shape.length, shape.head_dim, 10000.0f, rope.data());
  return rope;
}

// The first two thirds of the rows of a bordered [N,3D], or the last; the tolerances of the two differ.
template <class T>
std::vector<T> Columns(const std::vector<T>& dqkv, int d, bool v) {
  std::vector<T> columns;
  for (size_t row = 0; row + kBorder < dqkv.size(); row += 3 * d) {
    const auto begin = dqkv.begin() + row;
    columns.insert(columns.end(), begin + (v ? 2 * d : 0), begin + (v ? 3 * d : 2 * d));
  }
  columns.insert(columns.end(), dqkv.end() - kBorder, dqkv.end());
  return columns;
}

TYPED_TEST(CpuAttention, MatchesTheReference) {
  using E = TypeParam;
  // Lengths around the tiles of the implementation, and head widths of which some are no multiple of a vector.
  for (const int t : {1, 2, 31, 33, 64, 127, 128, 129, 300}) {
    for (const int head_dim : {6, 16, 48}) {
      const AttentionShape shape{2, t, 2, head_dim};
      SCOPED_TRACE(testing::Message() << "length " << t << " head_dim " << head_dim);
      const int n = shape.tokens(), d = shape.width();
      const auto qk = RandomVector<E>(n * 2 * d, 1), qkv = RandomVector<E>(n * 3 * d, 2), dy = RandomVector<E>(n * d, 3);
      std::vector<E> y[2], dqkv[2];
      Floats lse[2];
      this->OnBoth([&](const Ops<E>& ops, int i) {
        y[i] = Room<E>(n * d), dqkv[i] = Room<E>(n * 3 * d), lse[i] = Room<float>(n * shape.heads);
        ops.attention_forward(shape, qk.data(), qkv.data(), y[i].data(), lse[i].data());
        // The backward passes start from the same results, so that what they differ in is their own.
        ops.attention_backward(shape, qk.data(), qkv.data(), y[0].data(), lse[0].data(), dy.data(), dqkv[i].data());
      });
      // Probabilities and dscore are factors in the type of the tensors. dscore = p (dp - delta) is a difference of terms of order 1:
      // with one position it is exactly 0.
      ASSERT_NO_FATAL_FAILURE(ExpectClose("y", y[1], y[0], t, 0, 1));
      ExpectClose("lse", lse[1], lse[0], t);
      ExpectClose("dq, dk", Columns(dqkv[1], d, false), Columns(dqkv[0], d, false), t * 4, 1, 2);
      ExpectClose("dv", Columns(dqkv[1], d, true), Columns(dqkv[0], d, true), t * 4, 0, 2);
    }
  }
}

TYPED_TEST(CpuAttention, TheSameBitsWithAnyThreads) {
  using E = TypeParam;
  const AttentionShape shape{3, 150, 3, 16};
  const int n = shape.tokens(), d = shape.width();
  const auto qk = RandomVector<E>(n * 2 * d, 1), qkv = RandomVector<E>(n * 3 * d, 2), dy = RandomVector<E>(n * d, 3);
  ExpectSameBitsWithAnyThreads([&] {
    std::vector<E> y(n * d), dqkv(n * 3 * d);
    Floats lse(n * shape.heads);
    CpuOps<E>().attention_forward(shape, qk.data(), qkv.data(), y.data(), lse.data());
    CpuOps<E>().attention_backward(shape, qk.data(), qkv.data(), y.data(), lse.data(), dy.data(), dqkv.data());
    return Bytes(y, lse, dqkv);
  });
}

template <class E>
class CpuQk : public CpuTable<E> {};
TYPED_TEST_SUITE(CpuQk, ElementTypes, ElementName);

TYPED_TEST(CpuQk, MatchesTheReference) {
  using E = TypeParam;
  for (const int t : {1, 37}) {
    for (const int head_dim : {2, 6, 16, 34, 48, 64}) {
      for (const bool norm : {true, false}) {
        const AttentionShape shape{2, t, 3, head_dim};
        SCOPED_TRACE(testing::Message() << "length " << t << " head_dim " << head_dim << (norm ? " with norm" : ""));
        const int n = shape.tokens(), d = shape.width();
        const Floats rope = Rope(shape), weights = RandomVector<float>(2 * d, 1);
        const float *wq = norm ? weights.data() : nullptr, *wk = norm ? weights.data() + d : nullptr;
        const auto qkv = RandomVector<E>(n * 3 * d, 2);
        std::vector<E> qk[2], dqkv[2];
        Floats rstd[2], dwq[2], dwk[2];
        this->OnBoth([&](const Ops<E>& ops, int i) {
          qk[i] = Room<E>(n * 2 * d), dqkv[i] = Bordered(RandomVector<E>(n * 3 * d, 3)), rstd[i] = Bordered(Floats(n * 2, 1));
          dwq[i] = Bordered(RandomVector<float>(d, 4)), dwk[i] = Bordered(RandomVector<float>(d, 5));
          ops.qk_forward(shape, 1e-5f, rope.data(), qkv.data(), wq, wk, qk[i].data(), rstd[i].data());
          ops.qk_backward(shape, rope.data(), qkv.data(), wq, wk, rstd[0].data(), dqkv[i].data(), dwq[i].data(), dwk[i].data());
        });
        ASSERT_NO_FATAL_FAILURE(ExpectClose("qk", qk[1], qk[0], d));
        ExpectClose("rstd", rstd[1], rstd[0], d);
        ExpectClose("dqkv", dqkv[1], dqkv[0], d);
        ExpectClose("dwq", dwq[1], dwq[0], n + 1);
        ExpectClose("dwk", dwk[1], dwk[0], n + 1);
        EXPECT_TRUE(SameBits(Columns(dqkv[1], d, true), Columns(Bordered(RandomVector<E>(n * 3 * d, 3)), d, true)))
            << "v's changed";
      }
    }
  }
}

TYPED_TEST(CpuQk, TheSameBitsWithAnyThreads) {
  using E = TypeParam;
  const AttentionShape shape{3, 200, 2, 20};
  const int n = shape.tokens(), d = shape.width();
  const Floats rope = Rope(shape), wq = RandomVector<float>(d, 1), wk = RandomVector<float>(d, 2);
  const auto qkv = RandomVector<E>(n * 3 * d, 3);
  ExpectSameBitsWithAnyThreads([&] {
    std::vector<E> qk(n * 2 * d), dqkv = RandomVector<E>(n * 3 * d, 4);
    Floats rstd(n * 2), dwq(d), dwk(d);
    CpuOps<E>().qk_forward(shape, 1e-5f, rope.data(), qkv.data(), wq.data(), wk.data(), qk.data(), rstd.data());
    CpuOps<E>().qk_backward(shape, rope.data(), qkv.data(), wq.data(), wk.data(), rstd.data(), dqkv.data(), dwq.data(), dwk.data());
    return Bytes(qk, rstd, dqkv, dwq, dwk);
  });
}

}  // namespace
}  // namespace polymoe
