// Activations of the CPU's table against the reference: all kinds, orders and widths, with row weights and without.
#include "tests/kernels/activation_names.h"
#include "tests/kernels/cpu_test.h"

namespace polymoe {
namespace {

constexpr ActivationKind kKinds[] = {ActivationKind::kRelu,      ActivationKind::kRelu2,       ActivationKind::kGelu,
                                     ActivationKind::kSwiglu,    ActivationKind::kPolyRelu,    ActivationKind::kPolyNorm,
                                     ActivationKind::kPolyPRelu, ActivationKind::kPolyReluNorm};

// A call's inputs. Weights are as a softmax gives them: between 0 and 1, in an order of their own.
template <class E>
struct Problem {
  Activation a;
  int f, stride, width;
  bool weighted;
  std::vector<int32_t> offsets, source;
  std::vector<E> x, dy;
  Floats c, weights;

  Problem(const Activation& activation, int row, bool one_set, bool with_weights, std::vector<int32_t> bounds)
      : a(activation), f(row), weighted(with_weights), offsets(std::move(bounds)) {
    stride = one_set ? 0 : a.coefficient_count();
    width = a.gated() ? 2 * f : f;
    const int m = groups().rows();
    x = RandomVector<E>(int64_t{m} * width, 1);
    dy = RandomVector<E>(int64_t{m} * f, 2);
    c = RandomVector<float>(groups().count * a.coefficient_count() + 1, 3);
    weights.resize(m), source.resize(m);
    for (int r = 0; r < m; ++r) {
      source[r] = m - 1 - r;
      weights[r] = static_cast<float>(r % 11) / 10;
    }
  }
  RowGroups groups() const { return {static_cast<int>(offsets.size()) - 1, offsets.data()}; }
  RowWeights row_weights() const { return weighted ? RowWeights{weights.data(), source.data()} : RowWeights{}; }
};

template <class E>
struct Results {
  std::vector<E> y, dx;
  Floats dweights, dc;
};

template <class E>
Results<E> Run(const Ops<E>& ops, const Problem<E>& p) {
  Results<E> r{Room<E>(p.dy.size()), Room<E>(p.x.size()), Bordered(Floats(p.weights.size())),
               Bordered(RandomVector<float>(p.c.size(), 4))};
  ops.activation_forward(p.a, p.groups(), p.f, p.x.data(), p.c.data(), p.stride, p.row_weights(), r.y.data());
  ops.activation_backward(p.a, p.groups(), p.f, p.x.data(), p.c.data(), p.stride, p.row_weights(), p.dy.data(), r.dx.data(),
                          r.dweights.data(), r.dc.data());
  return r;
}

template <class E>
void ExpectRight(const Problem<E>& p) {
  const Results<E> want = Run(RefOps<E>(), p), got = Run(CpuOps<E>(), p);
  const RowTerms terms = LargestTerms(p.a, p.groups(), p.f, p.x.data(), p.c.data(), p.stride, p.dy.data());
  ASSERT_NO_FATAL_FAILURE(ExpectClose("y", got.y, want.y, p.f));
  ExpectClose("dx", got.dx, want.dx, p.f, terms.dx);
  ExpectClose("dweights", got.dweights, want.dweights, p.f, terms.dweight);
  ExpectClose("dc", got.dc, want.dc, p.groups().rows() * p.f);
  if (p.a.gated()) return;
  std::vector<E> alias = Bordered(p.dy);  // dx may be dy
  Floats dweights = got.dweights, dc = got.dc;
  CpuOps<E>().activation_backward(p.a, p.groups(), p.f, p.x.data(), p.c.data(), p.stride, p.row_weights(), alias.data(),
                                  alias.data(), dweights.data(), dc.data());
  EXPECT_TRUE(SameBits(alias, got.dx));
  EXPECT_TRUE(SameBits(dweights, got.dweights));
}

template <class E>
class CpuActivation : public CpuTable<E> {};
TYPED_TEST_SUITE(CpuActivation, ElementTypes, ElementName);

TYPED_TEST(CpuActivation, MatchesTheReferenceAtEveryWidth) {
  for (const ActivationKind kind : kKinds) {
    for (int order = 1; order <= (Activation{kind}.has_coefficients() ? 4 : 1); ++order) {
      for (const int f : kWidths) {
        for (const bool one_set : {true, false}) {
          const bool weighted = !one_set;
          SCOPED_TRACE(testing::Message() << Name(kind) << " of order " << order << ", width " << f
                                          << (weighted ? ", weighted" : ", one set"));
          ExpectRight(Problem<TypeParam>({.kind = kind, .order = order}, f, one_set, weighted, {0, 0, 3, 19}));
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

// Groups that begin and end within tasks of 16 rows and at their edges, and no rows at all.
TYPED_TEST(CpuActivation, Groups) {
  for (const std::vector<int32_t>& offsets : std::vector<std::vector<int32_t>>{
           {0}, {0, 0, 0}, {0, 1}, {0, 16, 32}, {0, 15, 16, 17, 17, 33}, {0, 1, 2, 3, 4, 5, 90, 90, 100}, {0, 40, 41, 41, 41}}) {
    SCOPED_TRACE(testing::PrintToString(offsets));
    ExpectRight(Problem<TypeParam>({.kind = ActivationKind::kPolyNorm}, 20, false, true, offsets));
    ExpectRight(Problem<TypeParam>({.kind = ActivationKind::kSwiglu}, 20, true, true, offsets));
  }
}

TYPED_TEST(CpuActivation, SaturatesWithoutNaN) {
  using E = TypeParam;
  for (const ActivationKind kind : {ActivationKind::kSwiglu, ActivationKind::kGelu}) {
    const Activation a{kind};
    const int f = 5;
    const int32_t offsets[] = {0, 1};
    std::vector<E> x(2 * f, E(1));
    for (int j = 0; j < f; ++j) x[j] = E(std::vector<float>{-1e4f, -200.0f, -100.0f, 100.0f, 1e4f}[j]);
    const std::vector<E> dy(f, E(1));
    std::vector<E> y(f), dx(2 * f);
    CpuOps<E>().activation_forward(a, {1, offsets}, f, x.data(), nullptr, 0, {}, y.data());
    CpuOps<E>().activation_backward(a, {1, offsets}, f, x.data(), nullptr, 0, {}, dy.data(), dx.data(), nullptr, nullptr);
    for (int j = 0; j < f; ++j) {
      EXPECT_NEAR(y[j], x[j] > 0 ? static_cast<float>(x[j]) : 0, 1e-3) << Name(kind) << " of " << x[j];
      EXPECT_NEAR(dx[j], x[j] > 0 ? 1 : 0, 1e-3) << Name(kind) << " of " << x[j];
    }
  }
}

TYPED_TEST(CpuActivation, TheSameBitsWithAnyThreads) {
  for (const ActivationKind kind : {ActivationKind::kPolyNorm, ActivationKind::kPolyPRelu, ActivationKind::kSwiglu}) {
    const Problem<TypeParam> p({.kind = kind}, 100, false, true, {0, 100, 100, 101, 500});
    ExpectSameBitsWithAnyThreads([&] {
      const auto r = Run(CpuOps<TypeParam>(), p);
      return Bytes(r.y, r.dx, r.dweights, r.dc);
    });
  }
}

}  // namespace
}  // namespace polymoe
