// Products of bf16 with sums in fp32: AVX512_BF16's dot product of pairs (Zen 4, Cooper Lake, Sapphire Rapids and later). By intrinsics,
// since Debian 12's Highway does not know the instruction.
#include <bit>
#include <cstring>

#include "common/check.h"
#include "kernels/cpu/gemm.h"
#include "kernels/ops.h"

#ifdef __x86_64__
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")

namespace polymoe::cpu::avx512_bf16 {

struct Lanes {
  using Acc = __m512;
  static constexpr int kCount = 16, kStrip = 12;

  static Acc Zero() { return _mm512_setzero_ps(); }
  static __m512bh Load(const Unit* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
  static __m512bh Broadcast(const Unit* p) { return reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(*p))); }
  static Acc Dot(Acc sum, __m512bh a, __m512bh b) { return _mm512_dpbf16_ps(sum, a, b); }
  static Acc Add(Acc a, Acc b) { return _mm512_add_ps(a, b); }
  static Acc LoadSum(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(Acc v, float* p) { _mm512_storeu_ps(p, v); }
  static void StoreRounded(Acc v, BF16* p) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
  }
  template <int kWidth>
  static void Interleave(const BF16* a, const BF16* b, Unit* out) {
    for (int j = 0; j < kWidth; j += kCount) {
      const __mmask16 there = kWidth - j >= kCount ? 0xffff : (1 << (kWidth - j)) - 1;
      // The forms with a mask throughout: GCC 12 warns of its own undefined operand in the others.
      const __m512i low = _mm512_maskz_cvtepu16_epi32(there, _mm256_maskz_loadu_epi16(there, a + j));
      const __m512i high = _mm512_maskz_cvtepu16_epi32(there, _mm256_maskz_loadu_epi16(there, b + j));
      _mm512_mask_storeu_epi32(out + j, there, _mm512_or_si512(low, _mm512_maskz_slli_epi32(there, high, 16)));
    }
  }
};

#define POLYMOE_AVX512 1
#include "kernels/cpu/transpose-inl.h"
#undef POLYMOE_AVX512
#include "kernels/cpu/gemm-inl.h"

}  // namespace polymoe::cpu::avx512_bf16

#pragma GCC pop_options

namespace polymoe {

bool CpuHasBf16() {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512dq");
}

namespace cpu {

template <>
const GemmKernels<BF16>& Gemm() {
  POLYMOE_CHECK(CpuHasBf16(), "bf16 products on a CPU without AVX512_BF16");
  return avx512_bf16::Kernels<BF16>();
}

}  // namespace cpu
}  // namespace polymoe

#else

namespace polymoe {

bool CpuHasBf16() {
  return false;
}

namespace cpu {

template <>
const GemmKernels<BF16>& Gemm() {
  POLYMOE_CHECK(false, "bf16 products on a CPU without AVX512_BF16");
}

}  // namespace cpu
}  // namespace polymoe

#endif
