// Packing for products: copies of four-byte units, in vectors of 128 bits that every x86-64 and ARM64 has (GCC's vector extensions).
// The values are never looked at, so fp32 and pairs of bf16 take the same way.
#include <cstring>

#include "kernels/cpu/gemm.h"

namespace polymoe::cpu {
namespace {

using Words = uint32_t __attribute__((vector_size(16)));

template <class V>
V Load(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

template <class V>
void Store(V v, void* p) {
  std::memcpy(p, &v, sizeof(v));
}

// out[u * width + j] = unit u of row j of w, for four rows and `units` whole units.
void TransposeFour(int units, const char* const w[4], int width, Unit* out) {
  int u = 0;
  for (; u + 4 <= units; u += 4) {
    const auto row = [&](int j) { return Load<Words>(w[j] + u * sizeof(Unit)); };
    const Words r0 = row(0), r1 = row(1), r2 = row(2), r3 = row(3);
    const Words low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
    const Words low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5), high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    Unit* to = out + int64_t{u} * width;
    Store(__builtin_shufflevector(low01, low23, 0, 1, 4, 5), to);
    Store(__builtin_shufflevector(low01, low23, 2, 3, 6, 7), to + width);
    Store(__builtin_shufflevector(high01, high23, 0, 1, 4, 5), to + 2 * int64_t{width});
    Store(__builtin_shufflevector(high01, high23, 2, 3, 6, 7), to + 3 * int64_t{width});
  }
  for (; u < units; ++u) {
    for (int j = 0; j < 4; ++j) std::memcpy(out + int64_t{u} * width + j, w[j] + u * sizeof(Unit), sizeof(Unit));
  }
}

}  // namespace

template <class E>
void PackRows(int cols, int depth, const E* w, int64_t ld, int width, Unit* out) {
  const int whole = depth / kUnitElements<E>, units = Units<E>(depth);
  for (int panel = 0; panel < cols; panel += width, out += int64_t{units} * width) {
    const int count = cols - panel < width ? cols - panel : width;
    const auto row = [&](int j) { return reinterpret_cast<const char*>(w + (panel + j) * ld); };
    int j = 0;
    for (; j + 4 <= count; j += 4) {
      const char* const rows[] = {row(j), row(j + 1), row(j + 2), row(j + 3)};
      TransposeFour(whole, rows, width, out + j);
    }
    for (; j < count; ++j) {
      for (int u = 0; u < whole; ++u) std::memcpy(out + int64_t{u} * width + j, row(j) + u * sizeof(Unit), sizeof(Unit));
    }
    if (whole < units) {  // the half behind an odd depth is 0
      Unit* last = out + int64_t{whole} * width;
      std::memset(last, 0, width * sizeof(Unit));
      for (int i = 0; i < count; ++i) std::memcpy(last + i, row(i) + whole * sizeof(Unit), sizeof(E));
    }
    for (int u = 0; u < units && count < width; ++u)
      std::memset(out + int64_t{u} * width + count, 0, (width - count) * sizeof(Unit));
  }
}

template void PackRows(int, int, const float*, int64_t, int, Unit*);
template void PackRows(int, int, const BF16*, int64_t, int, Unit*);

}  // namespace polymoe::cpu
