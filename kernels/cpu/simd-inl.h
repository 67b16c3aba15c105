// Loops over rows of fp32 or bf16 for Highway kernels, in fp32 vectors: full vectors, then one partial vector, so that nothing is read
// or written past the end on any target. Included once a target (see hwy/foreach_target.h).
#if defined(POLYMOE_KERNELS_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef POLYMOE_KERNELS_CPU_SIMD_INL_H_
#undef POLYMOE_KERNELS_CPU_SIMD_INL_H_
#else
#define POLYMOE_KERNELS_CPU_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstring>

#include "kernels/bf16.h"

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using Words = hn::RebindToUnsigned<D>;
using Halves = hn::Rebind<uint16_t, D>;  // as many lanes as D

HWY_INLINE V Widen(hn::Vec<Halves> bits) {
  return hn::BitCast(D(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), bits)));
}

// To the nearest, ties to even; a NaN stays one (BF16's constructor, for a vector).
HWY_INLINE hn::Vec<Halves> Narrow(V v) {
  const Words d;
  const auto bits = hn::BitCast(d, v), upper = hn::ShiftRight<16>(bits);
  const auto bias = hn::Add(hn::And(upper, hn::Set(d, 1)), hn::Set(d, 0x7fff));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, bias));
  const auto nan = hn::Or(upper, hn::Set(d, 0x40));
  return hn::TruncateTo(Halves(), hn::IfThenElse(hn::RebindMask(d, hn::IsNaN(v)), nan, rounded));
}

// The first n < Lanes elements at p, zeros behind them.
template <class Tag, class T>
HWY_INLINE hn::Vec<Tag> LoadFirst(Tag d, const T* p, size_t n) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  return hn::MaskedLoad(hn::FirstN(d, n), d, p);  // does not touch what is masked out; other targets' may
#else
  HWY_ALIGN T buffer[HWY_MAX_BYTES / sizeof(T)] = {};
  std::memcpy(buffer, p, n * sizeof(T));
  return hn::Load(d, buffer);
#endif
}

template <class Tag, class T>
HWY_INLINE void StoreFirst(hn::Vec<Tag> v, Tag d, T* p, size_t n) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  hn::BlendedStore(v, hn::FirstN(d, n), d, p);
#else
  HWY_ALIGN T buffer[HWY_MAX_BYTES / sizeof(T)];
  hn::Store(v, d, buffer);
  std::memcpy(p, buffer, n * sizeof(T));
#endif
}

// How the vector at some place of a row is loaded and stored: all lanes, or the first n.
struct AllLanes {
  HWY_INLINE V Load(const float* p) const { return hn::LoadU(D(), p); }
  HWY_INLINE V Load(const BF16* p) const { return Widen(hn::LoadU(Halves(), &p->bits)); }
  HWY_INLINE void Store(V v, float* p) const { hn::StoreU(v, D(), p); }
  HWY_INLINE void Store(V v, BF16* p) const { hn::StoreU(Narrow(v), Halves(), &p->bits); }
};

struct FirstLanes {
  size_t n;

  HWY_INLINE V Load(const float* p) const { return LoadFirst(D(), p, n); }
  HWY_INLINE V Load(const BF16* p) const { return Widen(LoadFirst(Halves(), &p->bits, n)); }
  HWY_INLINE void Store(V v, float* p) const { StoreFirst(v, D(), p, n); }
  HWY_INLINE void Store(V v, BF16* p) const { StoreFirst(Narrow(v), Halves(), &p->bits, n); }
};

// f(lanes, j) for the vectors of a row of n elements. f loads and stores with `lanes` at its pointers + j; absent lanes of the last
// vector are loaded as zeros, which must not change sums.
template <class F>
HWY_INLINE void ForVectors(size_t n, const F& f) {
  const size_t lanes = hn::Lanes(D());
  size_t j = 0;
  for (; j + lanes <= n; j += lanes) f(AllLanes(), j);
  if (j < n) f(FirstLanes{n - j}, j);
}

// out[j] = f(a[j], b[j], ...). `out` may be any of the inputs.
template <class F, class Out, class... In>
HWY_INLINE void Map(size_t n, Out* out, const F& f, const In*... in) {
  ForVectors(n, [&](auto lanes, size_t j) HWY_ATTR { lanes.Store(f(lanes.Load(in + j)...), out + j); });
}

// f(a[j], b[j], ...) for its side effects, such as sums in registers.
template <class F, class... In>
HWY_INLINE void Visit(size_t n, const F& f, const In*... in) {
  ForVectors(n, [&](auto lanes, size_t j) HWY_ATTR { f(lanes.Load(in + j)...); });
}

HWY_INLINE float Sum(V v) {
  return hn::GetLane(hn::SumOfLanes(D(), v));
}

// e^x within 2e-7 of itself; 0 below -87.7, infinite above 88.3, a NaN stays one. x = n ln 2 + r, where ln 2 comes in two parts for an
// exact r, and e^r by its Taylor series, whose next term is 1.2e-7 at r = ln 2 / 2. Half the instructions of Highway's.
HWY_INLINE V Exp(V x) {
  const D d;
  const hn::RebindToSigned<D> whole;
  // In this order, since x86 returns the second operand when one is a NaN.
  const V bounded = hn::Min(hn::Set(d, 89.0f), hn::Max(hn::Set(d, -88.0f), x));
  const auto n = hn::NearestInt(hn::Mul(bounded, hn::Set(d, 1.44269504f)));
  const V count = hn::ConvertTo(d, n);
  const V r = hn::NegMulAdd(count, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(count, hn::Set(d, 0.693359375f), bounded));
  V e = hn::MulAdd(r, hn::Set(d, 1.0f / 720), hn::Set(d, 1.0f / 120));
  e = hn::MulAdd(e, r, hn::Set(d, 1.0f / 24));
  e = hn::MulAdd(e, r, hn::Set(d, 1.0f / 6));
  e = hn::MulAdd(e, r, hn::Set(d, 0.5f));
  e = hn::MulAdd(e, r, hn::Set(d, 1.0f));
  e = hn::MulAdd(e, r, hn::Set(d, 1.0f));
  // n = -127 gives the bits of 0, 128 those of infinity.
  return hn::Mul(e, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(whole, 127)))));
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
