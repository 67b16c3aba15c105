// Transposes blocks of four-byte units on their way into a packed operand. Included once a target, in its namespace; the values are
// never looked at, so fp32 and pairs of bf16 take the same way. POLYMOE_AVX512 is 1 where the target has it.

using Words = uint32_t __attribute__((vector_size(16)));  // GCC's vectors of 128 bits, which every target has

inline Words LoadWords(const char* p) {
  Words v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

inline void StoreWords(Words v, Unit* p) {
  std::memcpy(p, &v, sizeof(v));
}

// out[u * width + j] = unit u of row j, for four rows and any number of units.
inline void TransposeFour(int units, const char* const rows[4], int width, Unit* out) {
  int u = 0;
  for (; u + 4 <= units; u += 4) {
    const auto row = [&](int j) { return LoadWords(rows[j] + u * sizeof(Unit)); };
    const Words r0 = row(0), r1 = row(1), r2 = row(2), r3 = row(3);
    const Words low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
    const Words low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5), high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    Unit* to = out + int64_t{u} * width;
    StoreWords(__builtin_shufflevector(low01, low23, 0, 1, 4, 5), to);
    StoreWords(__builtin_shufflevector(low01, low23, 2, 3, 6, 7), to + width);
    StoreWords(__builtin_shufflevector(high01, high23, 0, 1, 4, 5), to + 2 * int64_t{width});
    StoreWords(__builtin_shufflevector(high01, high23, 2, 3, 6, 7), to + 3 * int64_t{width});
  }
  for (; u < units; ++u) {
    for (int j = 0; j < 4; ++j) std::memcpy(out + int64_t{u} * width + j, rows[j] + u * sizeof(Unit), sizeof(Unit));
  }
}

#if POLYMOE_AVX512
// The same for sixteen rows and sixteen units.
inline void TransposeSixteen(const char* const rows[16], int64_t offset, int width, Unit* out) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) a[j] = _mm512_loadu_si512(rows[j] + offset);
    // Pairs of rows, then fours, within each of the four 128-bit lanes.
#pragma GCC unroll 8
  for (int j = 0; j < 16; j += 2) {
    b[j] = _mm512_maskz_unpacklo_epi32(0xffff, a[j], a[j + 1]);
    b[j + 1] = _mm512_maskz_unpackhi_epi32(0xffff, a[j], a[j + 1]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 16; j += 4) {
    a[j] = _mm512_maskz_unpacklo_epi64(0xff, b[j], b[j + 2]);
    a[j + 1] = _mm512_maskz_unpackhi_epi64(0xff, b[j], b[j + 2]);
    a[j + 2] = _mm512_maskz_unpacklo_epi64(0xff, b[j + 1], b[j + 3]);
    a[j + 3] = _mm512_maskz_unpackhi_epi64(0xff, b[j + 1], b[j + 3]);
  }
  // a[4 g + i], lane l: unit 4 l + i of rows 4 g to 4 g + 3. Now lanes: for each i the 4 x 4 matrix of (g, l).
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i low01 = _mm512_maskz_shuffle_i32x4(0xffff, a[i], a[4 + i], 0x44);
    const __m512i high01 = _mm512_maskz_shuffle_i32x4(0xffff, a[i], a[4 + i], 0xee);
    const __m512i low23 = _mm512_maskz_shuffle_i32x4(0xffff, a[8 + i], a[12 + i], 0x44);
    const __m512i high23 = _mm512_maskz_shuffle_i32x4(0xffff, a[8 + i], a[12 + i], 0xee);
    _mm512_storeu_si512(out + int64_t{i} * width, _mm512_maskz_shuffle_i32x4(0xffff, low01, low23, 0x88));
    _mm512_storeu_si512(out + int64_t{4 + i} * width, _mm512_maskz_shuffle_i32x4(0xffff, low01, low23, 0xdd));
    _mm512_storeu_si512(out + int64_t{8 + i} * width, _mm512_maskz_shuffle_i32x4(0xffff, high01, high23, 0x88));
    _mm512_storeu_si512(out + int64_t{12 + i} * width, _mm512_maskz_shuffle_i32x4(0xffff, high01, high23, 0xdd));
  }
}
#endif

// Columns [0, count) of one panel, whole units only: unit u of row j of w goes to out[u * width + j].
template <class E>
void TransposeRows(int count, int units, const E* w, int64_t ld, int width, Unit* out) {
  const auto row = [&](int j) { return reinterpret_cast<const char*>(w + j * ld); };
  int j = 0;
#if POLYMOE_AVX512
  for (; j + 16 <= count; j += 16) {
    const char* rows[16];
    for (int i = 0; i < 16; ++i) rows[i] = row(j + i);
    int u = 0;
    for (; u + 16 <= units; u += 16)
      TransposeSixteen(rows, u * static_cast<int64_t>(sizeof(Unit)), width, out + int64_t{u} * width + j);
    for (const char*& start : rows) start += u * sizeof(Unit);
    for (int i = 0; i < 16; i += 4) TransposeFour(units - u, rows + i, width, out + int64_t{u} * width + j + i);
  }
#endif
  for (; j + 4 <= count; j += 4) {
    const char* const rows[] = {row(j), row(j + 1), row(j + 2), row(j + 3)};
    TransposeFour(units, rows, width, out + j);
  }
  for (; j < count; ++j) {
    for (int u = 0; u < units; ++u) std::memcpy(out + int64_t{u} * width + j, row(j) + u * sizeof(Unit), sizeof(Unit));
  }
}
