// Linear layers over grouped rows: which thread computes what, and in which blocks. An element of a result is computed by one thread
// over blocks of depth that depend on the shape alone, so the number of threads does not show in it.
#include <omp.h>

#include <algorithm>
#include <atomic>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"

namespace polymoe::cpu {
namespace {

constexpr int64_t kBlockUnits = 1 << 17;  // of the packed right operand: half of a 1 MiB L2
constexpr int kRowPiece = 240;            // rows of an item of work where neighbouring items find the block packed already,
constexpr int kDeepRowPiece = 720;        // and where each packs its own, block by block of depth
constexpr int kWeightUnits = 256;         // of depth a block in a weight gradient
constexpr int kWeightStrips = 8;          // packed at a time there: whole cache lines of the left operand

enum class Weight { kColumns, kDepth };  // rows of w are columns of the result (forward), or its depth (input gradient)

template <class E>
struct RowProduct {
  int depth, cols;
  const E* a;
  const int32_t* rows;  // gather of a, or null
  const E* w;           // [groups][cols, depth] or [groups][depth, cols]
  Weight layout;
  Target target;

  static constexpr int kMaxDepth = kMaxUnits * kUnitElements<E>;

  bool deep() const { return depth > kMaxDepth; }
  int block_cols() const {
    const int panel = Gemm<E>().panel;
    return static_cast<int>(std::max<int64_t>(panel, kBlockUnits / Units<E>(std::min(depth, kMaxDepth)) / panel * panel));
  }
  // `count` rows from `row`, all of group g, and the block of columns from `column`. `call` tells this product from others.
  void Run(uint64_t call, int g, int64_t row, int count, int column) const;

 private:
  void Pack(int g, int from, int block_depth, int column, int count, Unit* packed) const;
  Target Of(int64_t row, int column, int from, int block_depth, float* partial, int count) const;
};

template <class E>
void RowProduct<E>::Pack(int g, int from, int block_depth, int column, int count, Unit* packed) const {
  const E* weight = w + int64_t{g} * cols * depth;
  if (layout == Weight::kColumns) {
    Gemm<E>().pack_rows(count, block_depth, weight + int64_t{column} * depth + from, depth, packed);
  } else {
    Gemm<E>().pack_panels(count, block_depth, weight + int64_t{from} * cols + column, cols, nullptr, packed);
  }
}

// Sums over the blocks of depth before this one come in as a residual: from the result itself, or from `partial` where the result is
// rounded, which only the whole sum may be.
template <class E>
Target RowProduct<E>::Of(int64_t row, int column, int from, int block_depth, float* partial, int count) const {
  const bool first = from == 0, last = from + block_depth == depth;
  const int64_t at = row * target.ld + column;
  Target t = target;
  if (target.rounded && !last) {
    t = {.out = partial, .ld = count, .rounded = false};
  } else {
    t.out = target.rounded ? static_cast<void*>(static_cast<E*>(target.out) + at) : static_cast<float*>(target.out) + at;
  }
  if (first) {
    t.residual = target.residual == nullptr ? nullptr : target.residual + row * target.residual_ld + column;
    t.residual_ld = target.residual_ld;
  } else {
    t.residual = target.rounded ? partial : static_cast<const float*>(t.out);
    t.residual_ld = target.rounded ? count : target.ld;
  }
  return t;
}

template <class E>
void RowProduct<E>::Run(uint64_t call, int g, int64_t row, int count, int column) const {
  // What this thread packed last.
  thread_local struct {
    uint64_t call = 0;
    int g = 0, column = 0;
  } last;
  const auto& gemm = Gemm<E>();
  const int width = std::min(block_cols(), cols - column);
  Unit* packed = ThreadScratch<Unit>(int64_t{Units<E>(std::min(depth, kMaxDepth))} * block_cols());
  float* partial = target.rounded && deep() ? ThreadScratch<float>(int64_t{count} * width) : nullptr;
  for (int from = 0; from < depth; from += kMaxDepth) {
    const int block_depth = std::min(kMaxDepth, depth - from);
    if (deep() || last.call != call || last.g != g || last.column != column) Pack(g, from, block_depth, column, width, packed);
    last = {call, g, column};
    gemm.rows_times(count, rows == nullptr ? a + row * depth + from : a + from, depth, rows == nullptr ? nullptr : rows + row,
                    block_depth, packed, Units<E>(block_depth), width, Of(row, column, from, block_depth, partial, width));
  }
}

// Items of work are pieces of the rows of one group by a block of columns, in the order group, columns, rows.
template <class E>
void RunRows(RowGroups groups, const RowProduct<E>& product) {
  static std::atomic<uint64_t> calls = 0;
  if (groups.rows() == 0 || product.cols == 0) return;
  const uint64_t call = ++calls;
  const int64_t block_cols = product.block_cols(), blocks = (product.cols + block_cols - 1) / block_cols;
  // Small enough that each thread gets several, or one where packing is dear.
  const int64_t fair = groups.rows() * blocks / (omp_get_max_threads() * (product.deep() ? 1 : 4)) + 1;
  const int64_t limit = std::min<int64_t>(fair, product.deep() ? kDeepRowPiece : kRowPiece);
  const auto pieces_of = [&](int g) { return (groups.offsets[g + 1] - groups.offsets[g] + limit - 1) / limit; };
  int64_t* first = ThreadScratch<int64_t>(groups.count + 1);  // item of each group
  first[0] = 0;
  for (int g = 0; g < groups.count; ++g) first[g + 1] = first[g] + pieces_of(g) * blocks;
  ParallelFor(first[groups.count], [&](int64_t item) {
    const int g = static_cast<int>(std::upper_bound(first, first + groups.count + 1, item) - first - 1);
    const int64_t pieces = pieces_of(g), piece = (item - first[g]) % pieces, column = (item - first[g]) / pieces * block_cols;
    // Equal pieces of whole strips.
    const int64_t strip = Gemm<E>().strip, strips = (groups.offsets[g + 1] - groups.offsets[g] + strip - 1) / strip;
    const int64_t begin = groups.offsets[g] + strips * piece / pieces * strip;
    const int64_t end = std::min<int64_t>(groups.offsets[g + 1], groups.offsets[g] + strips * (piece + 1) / pieces * strip);
    if (begin < end) product.Run(call, g, begin, static_cast<int>(end - begin), static_cast<int>(column));
  });
}

template <class E>
struct WeightGradient {
  int n, k;
  const E* dy;
  const int32_t* dy_rows;
  const E* x;
  const int32_t* x_rows;
  bool accumulate;
  float* dw;

  // Strips [first, last) of dw[g], over rows [begin, end).
  void Run(int g, int64_t begin, int64_t end, int64_t first, int64_t last) const;

 private:
  // One block of depth and of columns: x is packed, dy is packed a few strips at a time. `add`: to what is in dw.
  void Block(int g, int64_t row, int depth, int column, int cols, int64_t first, int64_t last, bool add) const;
};

template <class E>
void WeightGradient<E>::Block(int g, int64_t row, int depth, int column, int cols, int64_t first, int64_t last, bool add) const {
  const auto& gemm = Gemm<E>();
  const int units = Units<E>(depth);
  // Whole panels and strips: the tail of the last ones is zeros.
  const int64_t right_size = int64_t{units} * (cols + gemm.panel), left_size = int64_t{units} * kWeightStrips * gemm.strip;
  Unit* right = ThreadScratch<Unit>(right_size + left_size);
  Unit* left = right + right_size;
  gemm.pack_panels(cols, depth, (x_rows == nullptr ? x + row * k : x) + column, k, x_rows == nullptr ? nullptr : x_rows + row,
                   right);
  for (int64_t strip = first; strip < last; strip += kWeightStrips) {
    const int64_t from = strip * gemm.strip, to = std::min<int64_t>(n, std::min(last, strip + kWeightStrips) * gemm.strip);
    const int count = static_cast<int>(to - from);
    gemm.pack_strips(count, depth, (dy_rows == nullptr ? dy + row * n : dy) + from, n, dy_rows == nullptr ? nullptr : dy_rows + row,
                     left);
    float* out = dw + (int64_t{g} * n + from) * k + column;
    gemm.strips_times(count, left, units, right, cols, {.out = out, .ld = k, .residual = add ? out : nullptr, .residual_ld = k});
  }
}

template <class E>
void WeightGradient<E>::Run(int g, int64_t begin, int64_t end, int64_t first, int64_t last) const {
  const int block_depth = kWeightUnits * kUnitElements<E>;
  const int panel = Gemm<E>().panel, block_cols = static_cast<int>(kBlockUnits / kWeightUnits / panel * panel);
  for (int64_t row = begin; row < end; row += block_depth) {
    const int depth = static_cast<int>(std::min<int64_t>(block_depth, end - row));
    for (int column = 0; column < k; column += block_cols)
      Block(g, row, depth, column, std::min(block_cols, k - column), first, last, accumulate || row > begin);
  }
}

// Threads share out the strips of all weights, each strip as heavy as its group has rows.
template <class E>
void RunWeights(RowGroups groups, const WeightGradient<E>& gradient) {
  const int64_t size = int64_t{gradient.n} * gradient.k;
  for (int64_t g = 0; g < groups.count && !gradient.accumulate; ++g) {
    if (groups.offsets[g] == groups.offsets[g + 1]) std::fill_n(gradient.dw + g * size, size, 0.0f);
  }
  if (groups.rows() == 0 || size == 0) return;
  const int64_t strips = (gradient.n + Gemm<E>().strip - 1) / Gemm<E>().strip, work = strips * groups.rows();
#pragma omp parallel
  {
    const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
    const int64_t begin = work * part / parts, end = work * (part + 1) / parts;
    int64_t before = 0;
    for (int g = 0; g < groups.count; ++g) {
      const int64_t rows = groups.offsets[g + 1] - groups.offsets[g];
      if (rows == 0) continue;
      // The strips whose first row of work lies in the share.
      const auto strip_at = [&](int64_t at) { return std::clamp<int64_t>((at - before + rows - 1) / rows, 0, strips); };
      const int64_t first = begin <= before ? 0 : strip_at(begin);
      const int64_t last = end <= before ? 0 : strip_at(end);
      if (first < last) gradient.Run(g, groups.offsets[g], groups.offsets[g + 1], first, last);
      before += rows * strips;
    }
  }
}

}  // namespace

template <class E>
void Linear(RowGroups groups, int n, int k, const E* x, const int32_t* rows, const E* w, E* y) {
  RunRows<E>(groups, {k, n, x, rows, w, Weight::kColumns, {.out = y, .ld = n, .rounded = sizeof(E) < sizeof(float)}});
}

template <class E>
void LinearFp32(RowGroups groups, int n, int k, const E* x, const E* w, const float* residual, float* y) {
  RunRows<E>(groups, {k, n, x, nullptr, w, Weight::kColumns, {.out = y, .ld = n, .residual = residual, .residual_ld = n}});
}

template <class E>
void LinearBackwardInput(RowGroups groups, int n, int k, const E* dy, const int32_t* rows, const E* w, E* dx) {
  RunRows<E>(groups, {n, k, dy, rows, w, Weight::kDepth, {.out = dx, .ld = k, .rounded = sizeof(E) < sizeof(float)}});
}

template <class E>
void LinearBackwardInputFp32(RowGroups groups, int n, int k, const E* dy, const E* w, bool accumulate, float* dx) {
  RunRows<E>(groups,
             {n, k, dy, nullptr, w, Weight::kDepth, {.out = dx, .ld = k, .residual = accumulate ? dx : nullptr, .residual_ld = k}});
}

template <class E>
void LinearBackwardWeight(RowGroups groups, int n, int k, const E* dy, const int32_t* dy_rows, const E* x, const int32_t* x_rows,
                          bool accumulate, float* dw) {
  RunWeights<E>(groups, {n, k, dy, dy_rows, x, x_rows, accumulate, dw});
}

template void Linear(RowGroups, int, int, const float*, const int32_t*, const float*, float*);
template void Linear(RowGroups, int, int, const BF16*, const int32_t*, const BF16*, BF16*);
template void LinearFp32(RowGroups, int, int, const float*, const float*, const float*, float*);
template void LinearFp32(RowGroups, int, int, const BF16*, const BF16*, const float*, float*);
template void LinearBackwardInput(RowGroups, int, int, const float*, const int32_t*, const float*, float*);
template void LinearBackwardInput(RowGroups, int, int, const BF16*, const int32_t*, const BF16*, BF16*);
template void LinearBackwardInputFp32(RowGroups, int, int, const float*, const float*, bool, float*);
template void LinearBackwardInputFp32(RowGroups, int, int, const BF16*, const BF16*, bool, float*);
template void LinearBackwardWeight(RowGroups, int, int, const float*, const int32_t*, const float*, const int32_t*, bool, float*);
template void LinearBackwardWeight(RowGroups, int, int, const BF16*, const int32_t*, const BF16*, const int32_t*, bool, float*);

}  // namespace polymoe::cpu
