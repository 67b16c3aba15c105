// Products in fp32 on whatever vectors the CPU has.
#include "kernels/cpu/gemm.h"

#include <bit>
#include <cstring>

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {
namespace fp32 {

using cpu::GemmKernels;
using cpu::kMaxUnits;
using cpu::kUnitElements;
using cpu::Target;
using cpu::Unit;
using cpu::Units;
namespace hn = hwy::HWY_NAMESPACE;

struct Lanes {
  using D = hn::ScalableTag<float>;
  using Acc = hn::Vec<D>;
  static constexpr int kCount = static_cast<int>(hn::MaxLanes(D()));
  static constexpr int kStrip = HWY_TARGET <= HWY_AVX3 ? 12 : 6;  // 24 of 32, or 12 of 16 registers for sums

  static HWY_INLINE Acc Zero() { return hn::Zero(D()); }
  static HWY_INLINE Acc Load(const Unit* p) { return hn::LoadU(D(), reinterpret_cast<const float*>(p)); }
  static HWY_INLINE Acc Broadcast(const Unit* p) { return hn::Set(D(), std::bit_cast<float>(*p)); }
  static HWY_INLINE Acc Dot(Acc sum, Acc a, Acc b) { return hn::MulAdd(a, b, sum); }
  static HWY_INLINE Acc Add(Acc a, Acc b) { return hn::Add(a, b); }
  static HWY_INLINE Acc LoadSum(const float* p) { return hn::LoadU(D(), p); }
  static HWY_INLINE void Store(Acc v, float* p) { hn::StoreU(v, D(), p); }
  static HWY_INLINE void StoreRounded(Acc v, float* p) { Store(v, p); }
  template <int kWidth>
  static HWY_INLINE void Interleave(const float* a, const float* /*b: a unit is one row*/, Unit* out) {
    std::memcpy(out, a, kWidth * sizeof(Unit));
  }
};

#define POLYMOE_AVX512 (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
#include "kernels/cpu/transpose-inl.h"
#undef POLYMOE_AVX512
#include "kernels/cpu/gemm-inl.h"

}  // namespace fp32

const cpu::GemmKernels<float>& Fp32Kernels() {
  return fp32::Kernels<float>();
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(Fp32Kernels);

namespace cpu {

template <>
const GemmKernels<float>& Gemm() {
  static const GemmKernels<float>& kernels = HWY_DYNAMIC_DISPATCH(Fp32Kernels)();
  return kernels;
}

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
