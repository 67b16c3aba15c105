// FFN activations. PolyCom ones read a row twice: sums first, then the polynomial in Horner form with per-row constants, so that a row
// of an expert (a few KB) comes from memory once. Powers above the order have weight 0: one code path serves orders 1 to 4.
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

HWY_INLINE V Sigmoid(V x) {
  const D d;
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(x))));
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
  const V magnitude = hn::NegMulAdd(hn::Mul(poly, t), hn::Exp(d, hn::Neg(hn::Mul(a, a))), one);
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

void PlainRow(ActivationKind kind, size_t f, const float* x, float* y) {
  switch (kind) {
    case ActivationKind::kRelu:
      Map(
          f, y, [](V v) HWY_ATTR { return Relu(v); }, x);
      break;
    case ActivationKind::kRelu2:
      Map(
          f, y, [](V v) HWY_ATTR { return hn::Mul(Relu(v), Relu(v)); }, x);
      break;
    case ActivationKind::kGelu:
      Map(
          f, y, [](V v) HWY_ATTR { return hn::Mul(v, NormalCdf(v)); }, x);
      break;
    default:
      Map(
          f, y, [](V gate, V up) HWY_ATTR { return hn::Mul(hn::Mul(gate, Sigmoid(gate)), up); }, x, x + f);
      break;  // kSwiglu
  }
}

void PlainRowBackward(ActivationKind kind, size_t f, const float* x, const float* dy, float* dx) {
  const D d;
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f), two = hn::Set(d, 2.0f);
  switch (kind) {
    case ActivationKind::kRelu:
      Map(
          f, dx, [&](V v, V g) HWY_ATTR { return hn::IfThenElseZero(hn::Gt(v, zero), g); }, x, dy);
      break;
    case ActivationKind::kRelu2:
      Map(
          f, dx, [&](V v, V g) HWY_ATTR { return hn::Mul(hn::Mul(two, Relu(v)), g); }, x, dy);
      break;
    case ActivationKind::kGelu:
      Map(
          f, dx,
          [&](V v, V g) HWY_ATTR {
            const V density = hn::Mul(hn::Set(d, 0.39894228f), hn::Exp(d, hn::Mul(hn::Set(d, -0.5f), hn::Mul(v, v))));
            return hn::Mul(g, hn::MulAdd(v, density, NormalCdf(v)));
          },
          x, dy);
      break;
    default:  // kSwiglu: dx has the gate's gradient first
      Map(
          f, dx,
          [&](V gate, V up, V g) HWY_ATTR {
            const V s = Sigmoid(gate);
            return hn::Mul(hn::Mul(g, up), hn::Mul(s, hn::MulAdd(gate, hn::Sub(one, s), one)));
          },
          x, x + f, dy);
      Map(
          f, dx + f, [](V gate, V g) HWY_ATTR { return hn::Mul(g, hn::Mul(gate, Sigmoid(gate))); }, x, dy);
      break;
  }
}

// What the polynomial is taken of.
enum class Base { kIdentity, kRelu, kPRelu };

template <Base kBase>
HWY_INLINE V BaseOf(V x, V slope) {
  if constexpr (kBase == Base::kIdentity) return x;
  if constexpr (kBase == Base::kRelu) return Relu(x);
  return hn::IfThenElse(hn::Gt(x, hn::Zero(D())), x, hn::Mul(slope, x));
}

// A row's polynomial: y = bias + u (s1 + u (s2 + u (s3 + u s4))) with s_p = w_p rstd_p (rstd_p = 1 without a norm).
struct PolyRow {
  float scale[5] = {}, rstd[5] = {}, bias, slope;
};

template <Base kBase>
HWY_INLINE PolyRow Prepare(const Activation& a, size_t f, const float* x, const float* c) {
  const D d;
  const bool normed = a.kind == ActivationKind::kPolyNorm || a.kind == ActivationKind::kPolyReluNorm;
  PolyRow row;
  row.bias = c[a.order];
  row.slope = kBase == Base::kPRelu ? c[a.order + 1] : 0;
  float mean[5] = {};
  if (normed) {
    V m1 = hn::Zero(d), m2 = m1, m3 = m1, m4 = m1;
    // Divided by f before they are added: x^6 alone reaches the end of fp32 at |x| = 2.6e6, a sum of them would much earlier.
    const V share = hn::Set(d, 1.0f / static_cast<float>(f));
    Visit(
        f,
        [&](V v) HWY_ATTR {
          const V u = BaseOf<kBase>(v, hn::Zero(d)), u2 = hn::Mul(u, u), u4 = hn::Mul(u2, u2), part = hn::Mul(u2, share);
          m1 = hn::Add(m1, part);
          m2 = hn::MulAdd(u2, part, m2);
          m3 = hn::MulAdd(u4, part, m3);
          m4 = hn::MulAdd(hn::Mul(u4, u2), part, m4);
        },
        x);
    mean[1] = Sum(m1), mean[2] = Sum(m2), mean[3] = Sum(m3), mean[4] = Sum(m4);
  }
  for (int p = 1; p <= a.order; ++p) {
    row.rstd[p] = normed ? 1.0f / std::sqrt(mean[p] + a.epsilon) : 1.0f;
    row.scale[p] = c[a.order - p] * row.rstd[p];
  }
  return row;
}

template <Base kBase>
void PolyRowForward(const Activation& a, size_t f, const float* x, const float* c, float* y) {
  const D d;
  const PolyRow row = Prepare<kBase>(a, f, x, c);
  const V s1 = hn::Set(d, row.scale[1]), s2 = hn::Set(d, row.scale[2]), s3 = hn::Set(d, row.scale[3]),
          s4 = hn::Set(d, row.scale[4]);
  const V bias = hn::Set(d, row.bias), slope = hn::Set(d, row.slope);
  Map(
      f, y,
      [&](V v) HWY_ATTR {
        const V u = BaseOf<kBase>(v, slope);
        return hn::MulAdd(u, hn::MulAdd(u, hn::MulAdd(u, hn::MulAdd(u, s4, s3), s2), s1), bias);
      },
      x);
}

// du = dy (s1 + u (2 s2 + u (3 s3 + u 4 s4))) - u (n1 + u^2 (n2 + u^2 (n3 + u^2 n4))),  n_p = [normed] p/f s_p rstd_p^2 S_p
// `dc` [order + 2] receives this row's share: rstd_p S_p by falling power, sum dy, slope.
template <Base kBase>
void PolyRowBackward(const Activation& a, size_t f, const float* x, const float* c, const float* dy, float* dx, float* dc) {
  const D d;
  const V zero = hn::Zero(d);
  const bool normed = a.kind == ActivationKind::kPolyNorm || a.kind == ActivationKind::kPolyReluNorm;
  const PolyRow row = Prepare<kBase>(a, f, x, c);
  const V slope = hn::Set(d, row.slope);
  V t0 = zero, t1 = zero, t2 = zero, t3 = zero, t4 = zero;
  Visit(
      f,
      [&](V v, V g) HWY_ATTR {
        const V u = BaseOf<kBase>(v, slope), gu = hn::Mul(g, u), gu2 = hn::Mul(gu, u), gu3 = hn::Mul(gu2, u);
        t0 = hn::Add(t0, g);
        t1 = hn::Add(t1, gu);
        t2 = hn::Add(t2, gu2);
        t3 = hn::Add(t3, gu3);
        t4 = hn::MulAdd(gu3, u, t4);
      },
      x, dy);
  const float sums[5] = {Sum(t0), Sum(t1), Sum(t2), Sum(t3), Sum(t4)};
  V direct[5], pull[5];
  for (int p = 1; p <= 4; ++p) {
    const float factor =
        normed && p <= a.order ? static_cast<float>(p) / static_cast<float>(f) * row.rstd[p] * row.rstd[p] * sums[p] : 0;
    direct[p] = hn::Set(d, static_cast<float>(p) * row.scale[p]);
    pull[p] = hn::Set(d, row.scale[p] * factor);
    if (p <= a.order) dc[a.order - p] = row.rstd[p] * sums[p];
  }
  dc[a.order] = sums[0];
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
  if (kBase == Base::kPRelu) dc[a.order + 1] = Sum(dslope);
}

void ForwardRow(const Activation& a, size_t f, const float* x, const float* c, float* y) {
  switch (a.kind) {
    case ActivationKind::kPolyNorm:
      return PolyRowForward<Base::kIdentity>(a, f, x, c, y);
    case ActivationKind::kPolyRelu:
    case ActivationKind::kPolyReluNorm:
      return PolyRowForward<Base::kRelu>(a, f, x, c, y);
    case ActivationKind::kPolyPRelu:
      return PolyRowForward<Base::kPRelu>(a, f, x, c, y);
    default:
      return PlainRow(a.kind, f, x, y);
  }
}

void BackwardRow(const Activation& a, size_t f, const float* x, const float* c, const float* dy, float* dx, float* dc) {
  switch (a.kind) {
    case ActivationKind::kPolyNorm:
      return PolyRowBackward<Base::kIdentity>(a, f, x, c, dy, dx, dc);
    case ActivationKind::kPolyRelu:
    case ActivationKind::kPolyReluNorm:
      return PolyRowBackward<Base::kRelu>(a, f, x, c, dy, dx, dc);
    case ActivationKind::kPolyPRelu:
      return PolyRowBackward<Base::kPRelu>(a, f, x, c, dy, dx, dc);
    default:
      return PlainRowBackward(a.kind, f, x, dy, dx);
  }
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(ForwardRow);
HWY_EXPORT(BackwardRow);

namespace cpu {
namespace {

constexpr int64_t kRows = 16;  // rows a task

// Group of row r; `hint` is the group of an earlier row.
int GroupOf(RowGroups groups, int64_t r, int hint) {
  while (r >= groups.offsets[hint + 1]) ++hint;
  return hint;
}

}  // namespace

void ActivationForward(const Activation& activation, RowGroups groups, int f, const float* x, const float* c,
                       int coefficient_stride, float* y) {
  const auto row = HWY_DYNAMIC_DISPATCH(ForwardRow);
  const int64_t width = activation.gated() ? 2 * f : f;
  ParallelBlocks(groups.rows(), kRows, [&](int64_t begin, int64_t end) {
    int group = 0;
    for (int64_t r = begin; r < end; ++r) {
      group = GroupOf(groups, r, group);
      row(activation, f, x + r * width, c + int64_t{group} * coefficient_stride, y + r * f);
    }
  });
}

void ActivationBackward(const Activation& activation, RowGroups groups, int f, const float* x, const float* c,
                        int coefficient_stride, const float* dy, float* dx, float* dc) {
  const auto row = HWY_DYNAMIC_DISPATCH(BackwardRow);
  const int64_t width = activation.gated() ? 2 * f : f;
  const int count = activation.coefficient_count();
  // Each row's share of dc by itself, added in the order of the rows.
  float* shares = ThreadScratch<float>(int64_t{groups.rows()} * count);
  ParallelBlocks(groups.rows(), kRows, [&](int64_t begin, int64_t end) {
    int group = 0;
    for (int64_t r = begin; r < end; ++r) {
      group = GroupOf(groups, r, group);
      row(activation, f, x + r * width, c + int64_t{group} * coefficient_stride, dy + r * f, dx + r * width, shares + r * count);
    }
  });
  if (count == 0) return;
  for (int g = 0; g < groups.count; ++g) {
    double sums[6] = {};
    for (int64_t r = groups.offsets[g]; r < groups.offsets[g + 1]; ++r) {
      for (int i = 0; i < count; ++i) sums[i] += shares[r * count + i];
    }
    for (int i = 0; i < count; ++i) dc[int64_t{g} * coefficient_stride + i] += static_cast<float>(sums[i]);
  }
}

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
