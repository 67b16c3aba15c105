// Loops over rows of floats for Highway kernels: full vectors, then one partial vector through a small buffer, so that nothing is read
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

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// The first n < Lanes floats at p, zeros behind them.
HWY_INLINE V LoadPart(const float* p, size_t n) {
  HWY_ALIGN float buffer[HWY_MAX_BYTES / sizeof(float)] = {};
  std::memcpy(buffer, p, n * sizeof(float));
  return hn::Load(D(), buffer);
}

HWY_INLINE void StorePart(V v, float* p, size_t n) {
  HWY_ALIGN float buffer[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(v, D(), buffer);
  std::memcpy(p, buffer, n * sizeof(float));
}

// out[j] = f(a[j], b[j], ...). `out` may be any of the inputs.
template <class F, class... In>
HWY_INLINE void Map(size_t n, float* out, const F& f, const In*... in) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t j = 0;
  for (; j + lanes <= n; j += lanes) hn::StoreU(f(hn::LoadU(d, in + j)...), d, out + j);
  if (j < n) StorePart(f(LoadPart(in + j, n - j)...), out + j, n - j);
}

// f(a[j], b[j], ...) for its side effects, such as sums in registers. Absent lanes of the last vector are zeros: f must turn zeros
// into nothing.
template <class F, class... In>
HWY_INLINE void Visit(size_t n, const F& f, const In*... in) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t j = 0;
  for (; j + lanes <= n; j += lanes) f(hn::LoadU(d, in + j)...);
  if (j < n) f(LoadPart(in + j, n - j)...);
}

HWY_INLINE float Sum(V v) {
  return hn::GetLane(hn::SumOfLanes(D(), v));
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
