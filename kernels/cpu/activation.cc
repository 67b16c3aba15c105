// FFN activations. PolyCom ones read a row twice: sums first, then the polynomial in Horner form with per-row constants, so that a row
// of an expert (a few KB) comes from memory once. Powers above the order have weight 0: one code path serves orders 1 to 4.
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

HWY_INLINE V Sigmoid(V x) {
  const V one = hn::Set(D(), 1.0f);
  return hn::Div(one, hn::Add(one, Exp(hn::Neg(x))));
}

// Abramowitz & Stegun 7.1.26: |error| <= 1.5e-7.
HWY_INLINE V Erf(V x) {
  const D d;
  const V one = hn::Set(d, 1.0f), a = hn::Abs(x);
  const V t = hn::Div(one, hn::MulAdd(hn::Set(d, 0.3275911f), a, one));
  V poly = hn::Set(d, 1.061405429f);
  poly = hn::MulAdd(poly, t, hn::Set(d, -1.453152027f));
  poly = hn::MulAdd(poly, t, hn::Set(d, 1.421413741f));
  poly = hn::MulAdd(poly, t, hn::Set(d, -0.284496736f));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.254829592f));
  const V magnitude = hn::NegMulAdd(hn::Mul(poly, t), Exp(hn::Neg(hn::Mul(a, a))), one);
  return hn::CopySign(magnitude, x);
}

HWY_INLINE V NormalCdf(V x) {
  const D d;
  return hn::MulAdd(hn::Set(d, 0.5f), Erf(hn::Mul(x, hn::Set(d, 0.70710678f))), hn::Set(d, 0.5f));
}

// max(x, 0) that keeps a NaN.
HWY_INLINE V Relu(V x) {
  return hn::IfThenElse(hn::Lt(x, hn::Zero(D())), hn::Zero(D()), x);
}

// What an activation of one element is, and its derivative.
struct Point {
  V value, derivative;
};

HWY_INLINE Point PointOf(ActivationKind kind, V x) {
  const D d;
  const V zero = hn::Zero(d);
  switch (kind) {
    case ActivationKind::kRelu:
      return {Relu(x), hn::IfThenElseZero(hn::Gt(x, zero), hn::Set(d, 1.0f))};
    case ActivationKind::kRelu2:
      return {hn::Mul(Relu(x), Relu(x)), hn::Add(Relu(x), Relu(x))};
    default: {  // kGelu
      const V cdf = NormalCdf(x);
      const V density = hn::Mul(hn::Set(d, 0.39894228f), Exp(hn::Mul(hn::Set(d, -0.5f), hn::Mul(x, x))));
      return {hn::Mul(x, cdf), hn::MulAdd(x, density, cdf)};
    }
  }
}

template <ActivationKind kKind, class E>
void PointRow(size_t f, float weight, const E* x, E* y) {
  const V w = hn::Set(D(), weight);
  Map(
      f, y, [&](V v) HWY_ATTR { return hn::Mul(w, PointOf(kKind, v).value); }, x);
}

// dx; returns <unweighted y, dy>.
template <ActivationKind kKind, class E>
float PointRowBackward(size_t f, float weight, const E* x, const E* dy, E* dx) {
  const V w = hn::Set(D(), weight);
  V dot = hn::Zero(D());
  Map(
      f, dx,
      [&](V v, V g) HWY_ATTR {
        const Point point = PointOf(kKind, v);
        dot = hn::MulAdd(point.value, g, dot);
        return hn::Mul(hn::Mul(w, g), point.derivative);
      },
      x, dy);
  return Sum(dot);
}

template <class E>
void SwigluRow(size_t f, float weight, const E* x, E* y) {
  const V w = hn::Set(D(), weight);
  Map(
      f, y, [&](V gate, V up) HWY_ATTR { return hn::Mul(hn::Mul(gate, Sigmoid(gate)), hn::Mul(w, up)); }, x, x + f);
}

template <class E>
float SwigluRowBackward(size_t f, float weight, const E* x, const E* dy, E* dx) {
  const V w = hn::Set(D(), weight), one = hn::Set(D(), 1.0f);
  V dot = hn::Zero(D());
  ForVectors(f, [&](auto lanes, size_t j) HWY_ATTR {
    const V gate = lanes.Load(x + j), up = lanes.Load(x + f + j), g = lanes.Load(dy + j), weighted = hn::Mul(w, g);
    const V s = Sigmoid(gate), silu = hn::Mul(gate, s);
    dot = hn::MulAdd(hn::Mul(silu, up), g, dot);
    lanes.Store(hn::Mul(hn::Mul(weighted, up), hn::Mul(s, hn::MulAdd(gate, hn::Sub(one, s), one))), dx + j);
    lanes.Store(hn::Mul(weighted, silu), dx + f + j);
  });
  return Sum(dot);
}

// What the polynomial is taken of.
enum class Base { kIdentity, kRelu, kPRelu };

template <Base kBase>
HWY_INLINE V BaseOf(V x, V slope) {
  if constexpr (kBase == Base::kIdentity) return x;
  if constexpr (kBase == Base::kRelu) return Relu(x);
  return hn::IfThenElse(hn::Gt(x, hn::Zero(D())), x, hn::Mul(slope, x));
}

// mean(u^2p) of a row, by power.
class MeanSquares {
 public:
  // Divided by f before they are added: x^6 alone reaches the end of fp32 at |x| = 2.6e6, a sum of them would much earlier.
  HWY_INLINE explicit MeanSquares(size_t f) : share_(hn::Set(D(), 1.0f / static_cast<float>(f))) {
    m1_ = m2_ = m3_ = m4_ = hn::Zero(D());
  }
  HWY_INLINE void Add(V u) {
    const V u2 = hn::Mul(u, u), u4 = hn::Mul(u2, u2), part = hn::Mul(u2, share_);
    m1_ = hn::Add(m1_, part);
    m2_ = hn::MulAdd(u2, part, m2_);
    m3_ = hn::MulAdd(u4, part, m3_);
    m4_ = hn::MulAdd(hn::Mul(u4, u2), part, m4_);
  }
  HWY_INLINE void Store(float (&mean)[5]) const { mean[1] = Sum(m1_), mean[2] = Sum(m2_), mean[3] = Sum(m3_), mean[4] = Sum(m4_); }

 private:
  V share_, m1_, m2_, m3_, m4_;
};

// <u^p, dy> of a row, by power.
class Moments {
 public:
  HWY_INLINE Moments() { t0_ = t1_ = t2_ = t3_ = t4_ = hn::Zero(D()); }
  HWY_INLINE void Add(V u, V g) {
    const V gu = hn::Mul(g, u), gu2 = hn::Mul(gu, u), gu3 = hn::Mul(gu2, u);
    t0_ = hn::Add(t0_, g);
    t1_ = hn::Add(t1_, gu);
    t2_ = hn::Add(t2_, gu2);
    t3_ = hn::Add(t3_, gu3);
    t4_ = hn::MulAdd(gu3, u, t4_);
  }
  HWY_INLINE void Store(float (&sums)[5]) const {
    sums[0] = Sum(t0_), sums[1] = Sum(t1_), sums[2] = Sum(t2_), sums[3] = Sum(t3_), sums[4] = Sum(t4_);
  }

 private:
  V t0_, t1_, t2_, t3_, t4_;
};

constexpr bool Normed(ActivationKind kind) {
  return kind == ActivationKind::kPolyNorm || kind == ActivationKind::kPolyReluNorm;
}

// A row's polynomial: y = bias + u (s1 + u (s2 + u (s3 + u s4))) with s_p = w_p rstd_p (rstd_p = 1 without a norm).
struct PolyRow {
  float scale[5] = {}, rstd[5] = {}, bias, slope;

  PolyRow(const Activation& a, const float* c, const float (&mean)[5]) : bias(c[a.order]) {
    slope = a.kind == ActivationKind::kPolyPRelu ? c[a.order + 1] : 0;
    for (int p = 1; p <= a.order; ++p) {
      rstd[p] = Normed(a.kind) ? 1.0f / std::sqrt(mean[p] + a.epsilon) : 1.0f;
      scale[p] = c[a.order - p] * rstd[p];
    }
  }
};

template <Base kBase, class E>
void PolyRowForward(const Activation& a, size_t f, float weight, const E* x, const float* c, E* y) {
  const D d;
  float mean[5] = {};
  if (Normed(a.kind)) {
    MeanSquares squares(f);
    Visit(
        f, [&](V v) HWY_ATTR { squares.Add(BaseOf<kBase>(v, hn::Zero(d))); }, x);
    squares.Store(mean);
  }
  const PolyRow row(a, c, mean);
  const V s1 = hn::Set(d, weight * row.scale[1]), s2 = hn::Set(d, weight * row.scale[2]), s3 = hn::Set(d, weight * row.scale[3]),
          s4 = hn::Set(d, weight * row.scale[4]);
  const V bias = hn::Set(d, weight * row.bias), slope = hn::Set(d, row.slope);
  Map(
      f, y,
      [&](V v) HWY_ATTR {
        const V u = BaseOf<kBase>(v, slope);
        return hn::MulAdd(u, hn::MulAdd(u, hn::MulAdd(u, hn::MulAdd(u, s4, s3), s2), s1), bias);
      },
      x);
}

// With w the row's weight:
//   du = w (dy (s1 + u (2 s2 + u (3 s3 + u 4 s4))) - u (n1 + u^2 (n2 + u^2 (n3 + u^2 n4)))),  n_p = [normed] p/f s_p rstd_p^2 S_p
// dc [order + 2] += w times: rstd_p S_p by falling power, sum dy, slope. Returns <y / w, dy> = sum s_p S_p + bias sum dy.
template <Base kBase, class E>
float PolyRowBackward(const Activation& a, size_t f, float weight, const E* x, const float* c, const E* dy, E* dx, float* dc) {
  const D d;
  const V zero = hn::Zero(d);
  const V slope = hn::Set(d, kBase == Base::kPRelu ? c[a.order + 1] : 0);
  float mean[5] = {}, sums[5];
  Moments moments;
  if (Normed(a.kind)) {
    MeanSquares squares(f);
    Visit(
        f,
        [&](V v, V g) HWY_ATTR {
          const V u = BaseOf<kBase>(v, slope);
          squares.Add(u);
          moments.Add(u, g);
        },
        x, dy);
    squares.Store(mean);
  } else {
    Visit(
        f, [&](V v, V g) HWY_ATTR { moments.Add(BaseOf<kBase>(v, slope), g); }, x, dy);
  }
  moments.Store(sums);
  const PolyRow row(a, c, mean);
  V direct[5], pull[5];
  float dweight = row.bias * sums[0];
  for (int p = 1; p <= 4; ++p) {
    const float factor = Normed(a.kind) ? static_cast<float>(p) / static_cast<float>(f) * row.rstd[p] * row.rstd[p] * sums[p] : 0;
    direct[p] = hn::Set(d, weight * static_cast<float>(p) * row.scale[p]);
    pull[p] = hn::Set(d, p <= a.order ? weight * row.scale[p] * factor : 0);
    if (p > a.order) continue;
    dweight += row.scale[p] * sums[p];
    dc[a.order - p] += weight * row.rstd[p] * sums[p];
  }
  dc[a.order] += weight * sums[0];
  V dslope = zero;
  Map(
      f, dx,
      [&](V v, V g) HWY_ATTR {
        const V u = BaseOf<kBase>(v, slope), u2 = hn::Mul(u, u);
        const V poly = hn::MulAdd(u, hn::MulAdd(u, hn::MulAdd(u, direct[4], direct[3]), direct[2]), direct[1]);
        const V back = hn::MulAdd(u2, hn::MulAdd(u2, hn::MulAdd(u2, pull[4], pull[3]), pull[2]), pull[1]);
        const V du = hn::NegMulAdd(u, back, hn::Mul(g, poly));
        if constexpr (kBase == Base::kIdentity) return du;
        const auto positive = hn::Gt(v, zero);
        if constexpr (kBase == Base::kRelu) return hn::IfThenElseZero(positive, du);
        dslope = hn::Add(dslope, hn::IfThenZeroElse(positive, hn::Mul(du, v)));
        return hn::IfThenElse(positive, du, hn::Mul(slope, du));
      },
      x, dy);
  if (kBase == Base::kPRelu) dc[a.order + 1] += Sum(dslope);
  return dweight;
}

template <class E>
void ActivationRow(const Activation& a, size_t f, float weight, const E* x, const float* c, E* y) {
  switch (a.kind) {
    case ActivationKind::kRelu:
      return PointRow<ActivationKind::kRelu>(f, weight, x, y);
    case ActivationKind::kRelu2:
      return PointRow<ActivationKind::kRelu2>(f, weight, x, y);
    case ActivationKind::kGelu:
      return PointRow<ActivationKind::kGelu>(f, weight, x, y);
    case ActivationKind::kSwiglu:
      return SwigluRow(f, weight, x, y);
    case ActivationKind::kPolyNorm:
      return PolyRowForward<Base::kIdentity>(a, f, weight, x, c, y);
    case ActivationKind::kPolyPRelu:
      return PolyRowForward<Base::kPRelu>(a, f, weight, x, c, y);
    default:  // kPolyRelu, kPolyReluNorm
      return PolyRowForward<Base::kRelu>(a, f, weight, x, c, y);
  }
}

template <class E>
float ActivationRowBackward(const Activation& a, size_t f, float weight, const E* x, const float* c, const E* dy, E* dx,
                            float* dc) {
  switch (a.kind) {
    case ActivationKind::kRelu:
      return PointRowBackward<ActivationKind::kRelu>(f, weight, x, dy, dx);
    case ActivationKind::kRelu2:
      return PointRowBackward<ActivationKind::kRelu2>(f, weight, x, dy, dx);
    case ActivationKind::kGelu:
      return PointRowBackward<ActivationKind::kGelu>(f, weight, x, dy, dx);
    case ActivationKind::kSwiglu:
      return SwigluRowBackward(f, weight, x, dy, dx);
    case ActivationKind::kPolyNorm:
      return PolyRowBackward<Base::kIdentity>(a, f, weight, x, c, dy, dx, dc);
    case ActivationKind::kPolyPRelu:
      return PolyRowBackward<Base::kPRelu>(a, f, weight, x, c, dy, dx, dc);
    default:  // kPolyRelu, kPolyReluNorm
      return PolyRowBackward<Base::kRelu>(a, f, weight, x, c, dy, dx, dc);
  }
}

template <class E>
cpu::ActivationRows<E> ActivationRowsOf() {
  return {ActivationRow<E>, ActivationRowBackward<E>};
}

cpu::BothRows<cpu::ActivationRows> ActivationTables() {
  return {ActivationRowsOf<float>(), ActivationRowsOf<BF16>()};
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(ActivationTables);

namespace cpu {
namespace {

constexpr int64_t kRows = 16;  // rows a task

template <class E>
ActivationRows<E> RowsFor() {
  return std::get<ActivationRows<E>>(HWY_DYNAMIC_DISPATCH(ActivationTables)());
}

// Group of row r; `hint` is the group of an earlier row.
int GroupOf(RowGroups groups, int64_t r, int hint) {
  while (r >= groups.offsets[hint + 1]) ++hint;
  return hint;
}

float WeightOf(RowWeights weights, int64_t r) {
  return weights.weights == nullptr ? 1 : weights.weights[weights.source[r]];
}

}  // namespace

template <class E>
void ActivationForward(const Activation& activation, RowGroups groups, int f, const E* x, const float* c, int coefficient_stride,
                       RowWeights weights, E* y) {
  const auto row = RowsFor<E>().forward;
  const int64_t width = activation.gated() ? 2 * f : f;
  ParallelBlocks(groups.rows(), kRows, [&](int64_t begin, int64_t end) {
    int group = 0;
    for (int64_t r = begin; r < end; ++r) {
      group = GroupOf(groups, r, group);
      row(activation, f, WeightOf(weights, r), x + r * width, c + int64_t{group} * coefficient_stride, y + r * f);
    }
  });
}

template <class E>
void ActivationBackward(const Activation& activation, RowGroups groups, int f, const E* x, const float* c, int coefficient_stride,
                        RowWeights weights, const E* dy, E* dx, float* dweights, float* dc) {
  const auto row = RowsFor<E>().backward;
  const int64_t width = activation.gated() ? 2 * f : f;
  const int count = activation.coefficient_count();
  // Shares of dc: block b's part of group g has the one at b + g, which no other pair of them has, as both rise with the rows.
  const int64_t blocks = (groups.rows() + kRows - 1) / kRows, size = (blocks + groups.count) * count;
  float* shares = ThreadScratch<float>(size);
  std::fill_n(shares, size, 0.0f);
  ParallelBlocks(groups.rows(), kRows, [&](int64_t begin, int64_t end) {
    int group = 0;
    for (int64_t r = begin; r < end; ++r) {
      group = GroupOf(groups, r, group);
      const float dweight = row(activation, f, WeightOf(weights, r), x + r * width, c + int64_t{group} * coefficient_stride,
                                dy + r * f, dx + r * width, shares + (begin / kRows + group) * count);
      if (weights.weights != nullptr) dweights[weights.source[r]] = dweight;
    }
  });
  for (int64_t g = 0; g < groups.count && count > 0; ++g) {
    if (groups.offsets[g] == groups.offsets[g + 1]) continue;
    double sums[6] = {};
    for (int64_t b = groups.offsets[g] / kRows; b <= (groups.offsets[g + 1] - 1) / kRows; ++b) {
      for (int i = 0; i < count; ++i) sums[i] += shares[(b + g) * count + i];
    }
    for (int i = 0; i < count; ++i) dc[g * coefficient_stride + i] += static_cast<float>(sums[i]);
  }
}

template decltype(ActivationForward<float>) ActivationForward<float>;
template decltype(ActivationForward<BF16>) ActivationForward<BF16>;
template decltype(ActivationBackward<float>) ActivationBackward<float>;
template decltype(ActivationBackward<BF16>) ActivationBackward<BF16>;

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
