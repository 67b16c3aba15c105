// The inner loop of products, over `Lanes`: what one kind of processor multiplies with. Included once a target, inside a namespace of it
// that has defined
//   struct Lanes { Acc: vector of fp32; kCount: its elements; kStrip: rows of a register tile;
//                  Operand Load(const Unit*), Broadcast(const Unit*); Acc Zero(), Dot(Acc, Operand, Operand);
//                  Acc LoadSum(const float*); Store(Acc, float*); Acc Add(Acc, Acc); StoreRounded(Acc, E*);
//                  Interleave<kWidth>(const E* a, const E* b, Unit*): one unit of depth of kWidth columns, from rows a and b }

inline constexpr int kPanel = 2 * Lanes::kCount;
// Rows of a copied strip lie this many units apart: odd in cache lines, so that they do not share sets of L1.
inline constexpr int kStripStride = kMaxUnits + 16;

template <class E>
void StoreElement(float sum, const Target& t, int64_t row, int64_t column) {
  if (t.residual != nullptr) sum += t.residual[row * t.residual_ld + column];
  if (t.rounded) {
    static_cast<E*>(t.out)[row * t.ld + column] = static_cast<E>(sum);
  } else {
    static_cast<float*>(t.out)[row * t.ld + column] = sum;
  }
}

// A whole tile of sums to its place.
template <class E, int kRows>
[[gnu::always_inline]] inline void StoreTile(Lanes::Acc (&sums)[kRows][2], const Target& t, int64_t row, int64_t column) {
  if (t.residual != nullptr) {
    const float* from = t.residual + row * t.residual_ld + column;
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r, from += t.residual_ld) {
      sums[r][0] = Lanes::Add(sums[r][0], Lanes::LoadSum(from));
      sums[r][1] = Lanes::Add(sums[r][1], Lanes::LoadSum(from + Lanes::kCount));
    }
  }
  if (t.rounded) {
    E* to = static_cast<E*>(t.out) + row * t.ld + column;
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r, to += t.ld) {
      Lanes::StoreRounded(sums[r][0], to);
      Lanes::StoreRounded(sums[r][1], to + Lanes::kCount);
    }
  } else {
    float* to = static_cast<float*>(t.out) + row * t.ld + column;
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r, to += t.ld) {
      Lanes::Store(sums[r][0], to);
      Lanes::Store(sums[r][1], to + Lanes::kCount);
    }
  }
}

// kRows x kPanel elements over all units. Unit u of row r of the left operand is a[r * kRowStride + u * kUnitStride].
template <class E, int kRows, int kRowStride, int kUnitStride>
void Tile(int units, const Unit* a, const Unit* b, int rows, int cols, const Target& target, int64_t row, int64_t column) {
  if (target.residual != nullptr) {  // it arrives while the loop runs
    for (int r = 0; r < rows; ++r) {
      const float* line = target.residual + (row + r) * target.residual_ld + column;
      __builtin_prefetch(line);
      __builtin_prefetch(line + Lanes::kCount);
    }
  }
  Lanes::Acc sums[kRows][2];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = Lanes::Zero();
  for (int u = 0; u < units; ++u) {
    const auto b0 = Lanes::Load(b), b1 = Lanes::Load(b + Lanes::kCount);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const auto left = Lanes::Broadcast(a + int64_t{r} * kRowStride);
      sums[r][0] = Lanes::Dot(sums[r][0], left, b0);
      sums[r][1] = Lanes::Dot(sums[r][1], left, b1);
    }
    a += kUnitStride;
    b += kPanel;
  }
  if (rows == kRows && cols >= kPanel) return StoreTile<E>(sums, target, row, column);
  alignas(64) float edge[kRows][kPanel];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    Lanes::Store(sums[r][0], edge[r]);
    Lanes::Store(sums[r][1], edge[r] + Lanes::kCount);
  }
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols && c < kPanel; ++c) StoreElement<E>(edge[r][c], target, row + r, column + c);
  }
}

// One strip of up to kStrip rows against all panels, in the smallest tile that holds it.
template <class E, int kRowStride, int kUnitStride>
void Strip(int units, const Unit* a, const Unit* b, int packed_units, int rows, int cols, const Target& target, int64_t row) {
  constexpr int kThird = Lanes::kStrip / 3;
  const auto tile = rows <= kThird       ? Tile<E, kThird, kRowStride, kUnitStride>
                    : rows <= 2 * kThird ? Tile<E, 2 * kThird, kRowStride, kUnitStride>
                                         : Tile<E, Lanes::kStrip, kRowStride, kUnitStride>;
  for (int column = 0; column < cols; column += kPanel) {
    tile(units, a, b + int64_t{column} * packed_units, rows, cols - column, target, row, column);
  }
}

template <class E>
void RowsTimes(int rows, const E* a, int64_t lda, const int32_t* rows_of, int depth, const Unit* b, int packed_units, int cols,
               const Target& target) {
  const int units = Units<E>(depth);
  alignas(64) Unit strip[Lanes::kStrip * kStripStride];
  for (int row = 0; row < rows; row += Lanes::kStrip) {
    const int count = rows - row < Lanes::kStrip ? rows - row : Lanes::kStrip;
    for (int r = 0; r < Lanes::kStrip; ++r) {
      Unit* to = strip + int64_t{r} * kStripStride;
      to[units - 1] = 0;                           // the half behind an odd depth
      const int from = row + (r < count ? r : 0);  // absent rows: any numbers that are there
      std::memcpy(to, a + (rows_of == nullptr ? from : rows_of[from]) * lda, depth * sizeof(E));
    }
    Strip<E, kStripStride, 1>(units, strip, b, packed_units, count, cols, target, row);
  }
}

template <class E>
void StripsTimes(int rows, const Unit* a, int units, const Unit* b, int cols, const Target& target) {
  for (int row = 0; row < rows; row += Lanes::kStrip) {
    const int count = rows - row < Lanes::kStrip ? rows - row : Lanes::kStrip;
    Strip<E, 1, Lanes::kStrip>(units, a + int64_t{row} * units, b, units, count, cols, target, row);
  }
}

// One unit of depth of an incomplete panel, and any of the last unit of an odd depth, where `b` is null.
template <int kWidth>
void InterleavePart(int count, const BF16* a, const BF16* b, Unit* out) {
  for (int j = 0; j < kWidth; ++j) out[j] = j >= count ? 0 : a[j].bits | (b == nullptr ? Unit{0} : Unit{b[j].bits} << 16);
}

template <int kWidth>
void InterleavePart(int count, const float* a, const float* /*b*/, Unit* out) {
  for (int j = 0; j < kWidth; ++j) out[j] = j >= count ? 0 : std::bit_cast<Unit>(a[j]);
}

template <class E, int kWidth>
void PackDepth(int cols, int depth, const E* x, int64_t ld, const int32_t* rows_of, Unit* out) {
  const int units = Units<E>(depth), whole = depth / kUnitElements<E>;
  const auto row = [&](int i) -> const E* { return i >= depth ? nullptr : x + (rows_of == nullptr ? i : rows_of[i]) * ld; };
  for (int u = 0; u < units; ++u) {
    const E *a = row(u * kUnitElements<E>), *b = row(u * kUnitElements<E> + kUnitElements<E> - 1);
    Unit* to = out + int64_t{u} * kWidth;
    int column = 0;
    for (; u < whole && column + kWidth <= cols; column += kWidth) {
      Lanes::template Interleave<kWidth>(a + column, b + column, to + int64_t{column} * units);
    }
    for (; column < cols; column += kWidth) {
      InterleavePart<kWidth>(cols - column, a + column, b == nullptr ? nullptr : b + column, to + int64_t{column} * units);
    }
  }
}

template <class E>
void PackRows(int cols, int depth, const E* w, int64_t ld, Unit* out) {
  const int whole = depth / kUnitElements<E>, units = Units<E>(depth);
  for (int panel = 0; panel < cols; panel += kPanel, w += kPanel * ld, out += int64_t{units} * kPanel) {
    const int count = cols - panel < kPanel ? cols - panel : kPanel;
    TransposeRows(count, whole, w, ld, kPanel, out);
    if (whole < units) {  // the half behind an odd depth is 0
      Unit* last = out + int64_t{whole} * kPanel;
      std::memset(last, 0, kPanel * sizeof(Unit));
      for (int j = 0; j < count; ++j) std::memcpy(last + j, w + j * ld + whole * kUnitElements<E>, sizeof(E));
    }
    for (int u = 0; u < units && count < kPanel; ++u) {
      std::memset(out + int64_t{u} * kPanel + count, 0, (kPanel - count) * sizeof(Unit));
    }
  }
}

template <class E>
const GemmKernels<E>& Kernels() {
  static const GemmKernels<E> kernels = {
      Lanes::kStrip, kPanel, RowsTimes<E>, StripsTimes<E>, PackRows<E>, PackDepth<E, kPanel>, PackDepth<E, Lanes::kStrip>};
  return kernels;
}
