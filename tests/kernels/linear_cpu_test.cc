// Linear layers of the CPU's table: sizes around its tiles, odd depths, gathers, empty groups.
#include "tests/kernels/cpu_test.h"

namespace polymoe {
namespace {

template <class E>
class CpuLinear : public CpuTable<E> {};
TYPED_TEST_SUITE(CpuLinear, ElementTypes, ElementName);

// Rows that repeat and skip some of a tensor of m + 3.
std::vector<int32_t> Gather(int m, int factor) {
  std::vector<int32_t> rows(m);
  for (int r = 0; r < m; ++r) rows[r] = r * factor % (m + 3);
  return rows;
}

template <class E>
struct Problem {
  int m, n, k;
  std::vector<int32_t> offsets;
  std::vector<E> x, w, dy;
  std::vector<int32_t> x_rows, dy_rows;

  Problem(std::vector<int32_t> bounds, int outputs, int depth)
      : m(bounds.back()), n(outputs), k(depth), offsets(std::move(bounds)) {
    x = RandomVector<E>(int64_t{m + 3} * k, 1);
    w = RandomVector<E>(int64_t{groups().count} * n * k, 2);
    dy = RandomVector<E>(int64_t{m + 3} * n, 3);
    x_rows = Gather(m, 5), dy_rows = Gather(m, 7);
  }
  RowGroups groups() const { return {static_cast<int>(offsets.size()) - 1, offsets.data()}; }
};

template <class E>
struct Results {
  std::vector<E> y, dx;
  Floats y32, dx32, dw;
};

// All five operations; the gathered operands are the x of y and of dw, and the dy of dx and of dw. With the latter, dx and dw are added to.
template <class E>
Results<E> Run(const Ops<E>& ops, const Problem<E>& p, bool gather_x, bool gather_dy) {
  const int32_t *x_rows = gather_x ? p.x_rows.data() : nullptr, *dy_rows = gather_dy ? p.dy_rows.data() : nullptr;
  Results<E> r{Room<E>(int64_t{p.m} * p.n), Room<E>(int64_t{p.m} * p.k), Bordered(RandomVector<float>(int64_t{p.m} * p.n, 4)),
               Bordered(RandomVector<float>(int64_t{p.m} * p.k, 5)), Bordered(RandomVector<float>(p.w.size(), 6))};
  ops.linear(p.groups(), p.n, p.k, p.x.data(), x_rows, p.w.data(), r.y.data());
  ops.linear_backward_input(p.groups(), p.n, p.k, p.dy.data(), dy_rows, p.w.data(), r.dx.data());
  ops.linear_backward_weight(p.groups(), p.n, p.k, p.dy.data(), dy_rows, p.x.data(), x_rows, /*accumulate=*/gather_dy, r.dw.data());
  ops.linear_fp32(p.groups(), p.n, p.k, p.x.data(), p.w.data(), gather_x ? r.y32.data() : nullptr, r.y32.data());
  ops.linear_backward_input_fp32(p.groups(), p.n, p.k, p.dy.data(), p.w.data(), gather_dy, r.dx32.data());
  return r;
}

template <class E>
void ExpectRight(const Problem<E>& p, bool gather_x, bool gather_dy) {
  SCOPED_TRACE(testing::Message() << p.m << "x" << p.n << "x" << p.k << (gather_x ? ", x gathered" : "")
                                  << (gather_dy ? ", dy gathered" : ""));
  const Results<E> want = Run(RefOps<E>(), p, gather_x, gather_dy), got = Run(CpuOps<E>(), p, gather_x, gather_dy);
  ExpectClose("y", got.y, want.y, p.k);
  ExpectClose("dx", got.dx, want.dx, p.n);
  ExpectClose("dw", got.dw, want.dw, p.m + 1);
  ExpectClose("y in fp32", got.y32, want.y32, p.k + 1);
  ExpectClose("dx in fp32", got.dx32, want.dx32, p.n + 1);
}

TYPED_TEST(CpuLinear, MatchesTheReferenceAtEverySize) {
  for (const int m : kRowCounts) {
    for (const int n : {1, 2, 17, 33, 513}) {
      for (const int k : {1, 2, 17, 33, 513}) {
        ExpectRight(Problem<TypeParam>({0, m}, n, k), (n + k) % 2 == 0, m % 2 == 0);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TYPED_TEST(CpuLinear, GatherEachOperandOrNone) {
  for (const int m : kRowCounts) {
    const Problem<TypeParam> p({0, m}, 17, 33);
    for (const bool gather_x : {false, true}) {
      for (const bool gather_dy : {false, true}) ExpectRight(p, gather_x, gather_dy);
    }
  }
}

TYPED_TEST(CpuLinear, GroupsWithEmptyOnes) {
  for (const std::vector<int32_t>& offsets :
       std::vector<std::vector<int32_t>>{{0, 0, 5, 5, 12}, {0, 12, 12, 12, 12}, {0, 0, 0, 0, 0}, {0, 1, 70, 71, 140}, {0}}) {
    for (const int n : {9, 64}) {
      for (const int k : {16, 17}) {
        const Problem<TypeParam> p(offsets, n, k);
        ExpectRight(p, false, false);
        ExpectRight(p, true, true);
      }
    }
  }
}

// Deep enough that depth is cut, in each product: k for y, n for dx, rows for dw.
TYPED_TEST(CpuLinear, LongSums) {
  ExpectRight(Problem<TypeParam>({0, 3}, 2, 2501), false, false);
  ExpectRight(Problem<TypeParam>({0, 3}, 2501, 2), true, true);
  for (const bool accumulate : {false, true}) ExpectRight(Problem<TypeParam>({0, 1100, 2501}, 3, 5), true, accumulate);
}

TYPED_TEST(CpuLinear, TheSameBitsWithAnyThreads) {
  const Problem<TypeParam> p({0, 100, 100, 107, 600}, 130, 70);
  ExpectSameBitsWithAnyThreads([&] {
    const auto r = Run(CpuOps<TypeParam>(), p, true, true);
    return Bytes(r.y, r.dx, r.y32, r.dx32, r.dw);
  });
}

}  // namespace
}  // namespace polymoe
