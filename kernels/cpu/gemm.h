// Products of packed blocks: what linear.cc and attention.cc are built from. One thread's work on memory that fits its caches.
//
// A product runs over `depth`, the index that is summed. Packed operands consist of units of four bytes: one fp32, or two bf16 that
// are neighbours in depth (an odd depth ends with a zero), so that one code packs both and the inner loop takes one unit of each operand
// at a time. The loop computes a register tile of `strip` rows by `panel` columns:
//   right operand   panels of `panel` columns, each [units][panel]; absent columns of the last one are zero
//   left operand    rows as they lie (rows_times copies a strip at a time), or strips of `strip` columns, each [units][strip] (strips_times)
// An element of the result is one sum over depth in order, in fp32: it depends on nothing but its row, its column and where depth is cut
// into blocks (kMaxUnits).
#ifndef POLYMOE_KERNELS_CPU_GEMM_H_
#define POLYMOE_KERNELS_CPU_GEMM_H_

#include <cstdint>

#include "kernels/bf16.h"

namespace polymoe::cpu {

using Unit = uint32_t;

inline constexpr int kMaxUnits = 512;  // of depth in one call: a strip stays in L1 beside a stream of panels from L2

template <class E>
inline constexpr int kUnitElements = static_cast<int>(sizeof(Unit) / sizeof(E));

template <class E>
constexpr int Units(int depth) {
  return (depth + kUnitElements<E> - 1) / kUnitElements<E>;
}

// Where a product goes: out = residual + product. `out` has elements of type E when `rounded`, else fp32.
struct Target {
  void* out;
  int64_t ld;
  const float* residual = nullptr;  // null: 0; may be out
  int64_t residual_ld = 0;
  bool rounded = false;
};

template <class E>
struct GemmKernels {
  int strip, panel;
  // [rows, depth] x [depth, cols]. Row i of the left operand is row rows_of[i] of `a` (null: row i). depth <= kMaxUnits units, the first
  // of the `packed_units` that each panel of `b` has.
  void (*rows_times)(int rows, const E* a, int64_t lda, const int32_t* rows_of, int depth, const Unit* b, int packed_units,
                     int cols, const Target& target);
  // The left operand packed in strips, [units][strip] each.
  void (*strips_times)(int rows, const Unit* a, int units, const Unit* b, int cols, const Target& target);
  // Panels from w [cols, depth]: column j is row j of w.
  void (*pack_rows)(int cols, int depth, const E* w, int64_t ld, Unit* out);
  // Panels, or strips, from x [depth, cols]: its row i is row rows_of[i] (null: row i).
  void (*pack_panels)(int cols, int depth, const E* x, int64_t ld, const int32_t* rows_of, Unit* out);
  void (*pack_strips)(int cols, int depth, const E* x, int64_t ld, const int32_t* rows_of, Unit* out);
};

// For the CPU that runs. BF16 needs CpuHasBf16().
template <class E>
const GemmKernels<E>& Gemm();

}  // namespace polymoe::cpu

#endif  // POLYMOE_KERNELS_CPU_GEMM_H_
