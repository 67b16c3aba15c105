// RMSNorm of the CPU's table.
#include "tests/kernels/cpu_test.h"

namespace polymoe {
namespace {

template <class E>
class CpuNorm : public CpuTable<E> {};
TYPED_TEST_SUITE(CpuNorm, ElementTypes, ElementName);

TYPED_TEST(CpuNorm, MatchesTheReferenceAtEveryWidth) {
  using E = TypeParam;
  for (const int rows : kRowCounts) {
    for (const int d : kWidths) {
      for (const bool accumulate : {true, false}) {
        SCOPED_TRACE(testing::Message() << rows << "x" << d);
        const Floats x = RandomVector<float>(rows * d, 1), w = RandomVector<float>(d, 2), dy = RandomVector<float>(rows * d, 3);
        std::vector<E> y[2], rounded[2];
        Floats rstd[2], dx[2], dw[2];
        this->OnBoth([&](const Ops<E>& ops, int t) {
          y[t] = Room<E>(rows * d), rstd[t] = Room<float>(rows), rounded[t] = Room<E>(rows * d);
          dx[t] = Bordered(RandomVector<float>(rows * d, 4)), dw[t] = Bordered(RandomVector<float>(d, 5));
          ops.rmsnorm_forward(rows, d, 1e-5f, x.data(), w.data(), y[t].data(), rstd[t].data());
          ops.rmsnorm_backward(rows, d, x.data(), w.data(), rstd[0].data(), dy.data(), dx[t].data(), accumulate,
                               accumulate ? rounded[t].data() : nullptr, dw[t].data());
        });
        ASSERT_NO_FATAL_FAILURE(ExpectClose("y", y[1], y[0], d));
        ExpectClose("rstd", rstd[1], rstd[0], d);
        double term = 0;  // dx is a difference; with d = 1 it is almost 0
        for (int i = 0; i < rows * d; ++i) term = std::max(term, std::abs(1.0 * rstd[0][i / d] * dy[i] * w[i % d]));
        ExpectClose("dx", dx[1], dx[0], d, term);
        ExpectClose("dw", dw[1], dw[0], rows + 1);
        if (!accumulate) continue;
        ExpectBorder("rounded", rounded[1]);
        for (int i = 0; i < rows * d; ++i) ASSERT_EQ(static_cast<float>(rounded[1][i]), static_cast<float>(E(dx[1][i]))) << i;
      }
    }
  }
}

TYPED_TEST(CpuNorm, TheSameBitsWithAnyThreads) {
  using E = TypeParam;
  const int rows = 700, d = 50;
  const Floats x = RandomVector<float>(rows * d, 1), w = RandomVector<float>(d, 2), dy = RandomVector<float>(rows * d, 3);
  ExpectSameBitsWithAnyThreads([&] {
    std::vector<E> y(rows * d), rounded(rows * d);
    Floats rstd(rows), dx(rows * d), dw(d);
    CpuOps<E>().rmsnorm_forward(rows, d, 1e-5f, x.data(), w.data(), y.data(), rstd.data());
    CpuOps<E>().rmsnorm_backward(rows, d, x.data(), w.data(), rstd.data(), dy.data(), dx.data(), false, rounded.data(), dw.data());
    return Bytes(y, rstd, dx, rounded, dw);
  });
}

}  // namespace
}  // namespace polymoe
