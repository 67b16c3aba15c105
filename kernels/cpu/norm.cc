// RMSNorm, and what stands between the projections and attention.
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

template <class X>
HWY_INLINE float Rstd(size_t n, float epsilon, const X* x) {
  V squares = hn::Zero(D());
  Visit(
      n, [&](V v) HWY_ATTR { squares = hn::MulAdd(v, v, squares); }, x);
  return 1.0f / std::sqrt(Sum(squares) / static_cast<float>(n) + epsilon);
}

template <class E>
float NormForwardRow(size_t n, float epsilon, const float* x, const float* w, E* y) {
  const float rstd = Rstd(n, epsilon, x);
  const V scale = hn::Set(D(), rstd);
  Map(
      n, y, [&](V v, V weight) HWY_ATTR { return hn::Mul(hn::Mul(v, scale), weight); }, x, w);
  return rstd;
}

// -s^3 / n * <dy * w, x>: dx = s * dy * w + pull * x
template <class X>
HWY_INLINE float Pull(size_t n, const X* x, const float* w, float s, const float* dy) {
  V dot = hn::Zero(D());
  Visit(
      n, [&](V v, V weight, V g) HWY_ATTR { dot = hn::MulAdd(hn::Mul(g, weight), v, dot); }, x, w, dy);
  return -s * s * s / static_cast<float>(n) * Sum(dot);
}

template <class E>
void NormBackwardRow(size_t n, const float* x, const float* w, float s, const float* dy, float* dx, bool accumulate, E* rounded,
                     float* dw) {
  const V scale = hn::Set(D(), s), pull = hn::Set(D(), Pull(n, x, w, s, dy));
  ForVectors(n, [&](auto lanes, size_t j) HWY_ATTR {
    const V v = lanes.Load(x + j), g = hn::Mul(lanes.Load(dy + j), scale);
    lanes.Store(hn::MulAdd(g, v, lanes.Load(dw + j)), dw + j);
    V gradient = hn::MulAdd(v, pull, hn::Mul(g, lanes.Load(w + j)));
    if (accumulate) gradient = hn::Add(lanes.Load(dx + j), gradient);
    lanes.Store(gradient, dx + j);
    if (rounded != nullptr) lanes.Store(gradient, rounded + j);
  });
}

template <class E>
float QkForwardRow(size_t heads, size_t half, float epsilon, const float* cosine, const float* sine, const E* x, const float* w,
                   E* y) {
  const float rstd = w == nullptr ? 0 : Rstd(heads * half * 2, epsilon, x);
  const V scale = hn::Set(D(), rstd);
  for (size_t first = 0; first < heads * half * 2; first += half * 2) {
    ForVectors(half, [&](auto lanes, size_t j) HWY_ATTR {
      const size_t at = first + j, other = at + half;
      V a = lanes.Load(x + at), b = lanes.Load(x + other);
      if (w != nullptr) {
        a = hn::Mul(hn::Mul(a, scale), lanes.Load(w + at));
        b = hn::Mul(hn::Mul(b, scale), lanes.Load(w + other));
      }
      const V c = lanes.Load(cosine + j), s = lanes.Load(sine + j);
      lanes.Store(hn::NegMulAdd(b, s, hn::Mul(a, c)), y + at);
      lanes.Store(hn::MulAdd(a, s, hn::Mul(b, c)), y + other);
    });
  }
  return rstd;
}

// The rotation back, the transpose of the one of QkForwardRow. `to` may be `from`.
template <class From, class To>
HWY_INLINE void TurnBack(size_t heads, size_t half, const float* cosine, const float* sine, const From* from, To* to) {
  for (size_t first = 0; first < heads * half * 2; first += half * 2) {
    ForVectors(half, [&](auto lanes, size_t j) HWY_ATTR {
      const size_t at = first + j, other = at + half;
      const V a = lanes.Load(from + at), b = lanes.Load(from + other);
      const V c = lanes.Load(cosine + j), s = lanes.Load(sine + j);
      lanes.Store(hn::MulAdd(b, s, hn::Mul(a, c)), to + at);
      lanes.Store(hn::NegMulAdd(a, s, hn::Mul(b, c)), to + other);
    });
  }
}

template <class E>
void QkBackwardRow(size_t heads, size_t half, const float* cosine, const float* sine, const E* x, const float* w, float s,
                   E* gradient, float* scratch, float* dw) {
  if (w == nullptr) return TurnBack(heads, half, cosine, sine, gradient, gradient);
  const size_t n = heads * half * 2;
  TurnBack(heads, half, cosine, sine, gradient, scratch);
  const V scale = hn::Set(D(), s), pull = hn::Set(D(), Pull(n, x, w, s, scratch));
  ForVectors(n, [&](auto lanes, size_t j) HWY_ATTR {
    const V v = lanes.Load(x + j), g = hn::Mul(lanes.Load(scratch + j), scale);
    lanes.Store(hn::MulAdd(g, v, lanes.Load(dw + j)), dw + j);
    lanes.Store(hn::MulAdd(v, pull, hn::Mul(g, lanes.Load(w + j))), gradient + j);
  });
}

template <class E>
cpu::NormRows<E> NormRowsOf() {
  return {NormForwardRow<E>, NormBackwardRow<E>, QkForwardRow<E>, QkBackwardRow<E>};
}

cpu::BothRows<cpu::NormRows> NormTables() {
  return {NormRowsOf<float>(), NormRowsOf<BF16>()};
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(NormTables);

namespace cpu {
namespace {

template <class E>
NormRows<E> RowsFor() {
  return std::get<NormRows<E>>(HWY_DYNAMIC_DISPATCH(NormTables)());
}

// Rows cut into at most 32 blocks, each with a partial sum of dw: a partition that depends on the number of rows alone.
int64_t BlockOf(int64_t rows) {
  return std::max<int64_t>(16, (rows + 31) / 32);
}

// to[j] += partial[j], for partial sums that lie `stride` apart.
void AddPartials(int64_t blocks, int64_t stride, int64_t d, const float* partial, float* to) {
  for (int64_t i = 0; i < blocks; ++i) {
    for (int64_t j = 0; j < d; ++j) to[j] += partial[i * stride + j];
  }
}

}  // namespace

template <class E>
void RmsNormForward(int rows, int d, float epsilon, const float* x, const float* w, E* y, float* rstd) {
  const auto row = RowsFor<E>().forward;
  ParallelBlocks(rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) rstd[r] = row(d, epsilon, x + r * d, w, y + r * d);
  });
}

template <class E>
void RmsNormBackward(int rows, int d, const float* x, const float* w, const float* rstd, const float* dy, float* dx,
                     bool accumulate, E* rounded, float* dw) {
  const auto row = RowsFor<E>().backward;
  const int64_t block = BlockOf(rows), blocks = (rows + block - 1) / block;
  float* partial = ThreadScratch<float>(blocks * d);
  ParallelBlocks(rows, block, [&](int64_t begin, int64_t end) {
    float* sums = partial + begin / block * d;
    std::fill_n(sums, d, 0.0f);
    for (int64_t r = begin; r < end; ++r) {
      row(d, x + r * d, w, rstd[r], dy + r * d, dx + r * d, accumulate, rounded == nullptr ? nullptr : rounded + r * d, sums);
    }
  });
  AddPartials(blocks, d, d, partial, dw);
}

template <class E>
void QkForward(const AttentionShape& shape, float epsilon, const float* rope, const E* qkv, const float* wq, const float* wk, E* qk,
               float* rstd) {
  const auto row = RowsFor<E>().qk_forward;
  const int64_t d = shape.width(), half = shape.head_dim / 2;
  ParallelBlocks(shape.tokens(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *cosine = rope + r % shape.length * half, *sine = cosine + shape.length * half;
      for (int part = 0; part < 2; ++part) {
        const float* w = part == 0 ? wq : wk;
        const float s = row(shape.heads, half, epsilon, cosine, sine, qkv + (r * 3 + part) * d, w, qk + (r * 2 + part) * d);
        if (w != nullptr) rstd[r * 2 + part] = s;
      }
    }
  });
}

template <class E>
void QkBackward(const AttentionShape& shape, const float* rope, const E* qkv, const float* wq, const float* wk, const float* rstd,
                E* dqkv, float* dwq, float* dwk) {
  const auto row = RowsFor<E>().qk_backward;
  const int64_t d = shape.width(), half = shape.head_dim / 2;
  const int64_t block = BlockOf(shape.tokens()), blocks = (shape.tokens() + block - 1) / block;
  float* partial = ThreadScratch<float>(blocks * 3 * d);  // a block's sums of dwq and of dwk, and room for a row
  ParallelBlocks(shape.tokens(), block, [&](int64_t begin, int64_t end) {
    float *sums = partial + begin / block * 3 * d, *scratch = sums + 2 * d;
    std::fill_n(sums, 2 * d, 0.0f);
    for (int64_t r = begin; r < end; ++r) {
      const float *cosine = rope + r % shape.length * half, *sine = cosine + shape.length * half;
      for (int part = 0; part < 2; ++part) {
        const float* w = part == 0 ? wq : wk;
        const int64_t at = (r * 3 + part) * d;
        row(shape.heads, half, cosine, sine, qkv + at, w, w == nullptr ? 0 : rstd[r * 2 + part], dqkv + at, scratch,
            sums + part * d);
      }
    }
  });
  if (wq != nullptr) AddPartials(blocks, 3 * d, d, partial, dwq);
  if (wk != nullptr) AddPartials(blocks, 3 * d, d, partial + d, dwk);
}

template decltype(RmsNormForward<float>) RmsNormForward<float>;
template decltype(RmsNormForward<BF16>) RmsNormForward<BF16>;
template decltype(RmsNormBackward<float>) RmsNormBackward<float>;
template decltype(RmsNormBackward<BF16>) RmsNormBackward<BF16>;
template decltype(QkForward<float>) QkForward<float>;
template decltype(QkForward<BF16>) QkForward<BF16>;
template decltype(QkBackward<float>) QkBackward<float>;
template decltype(QkBackward<BF16>) QkBackward<BF16>;

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
