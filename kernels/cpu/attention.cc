// Causal attention in tiles with an online softmax (Milakov & Gimelshein 2018, Dao et al. 2022): one (sequence, head) a task, keys in
// blocks, so that scores exist for one tile of queries and one block of keys. Keys behind a tile's last query are never computed.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

constexpr float kNever = -1e30f;  // a score whose exponential is 0 under any scale and peak

template <class E>
void SoftmaxRow(int n, int width, float scale, float* scores, float* peak, float* sum, E* p, int head_dim, float* out) {
  const D d;
  const int lanes = static_cast<int>(hn::Lanes(d)), padded = (n + lanes - 1) / lanes * lanes;
  std::fill(scores + n, scores + padded, kNever);
  V most = hn::Set(d, kNever);
  for (int j = 0; j < padded; j += lanes) most = hn::Max(most, hn::LoadU(d, scores + j));
  const float before = *peak, now = std::max(before, scale * hn::GetLane(hn::MaxOfLanes(d, most)));
  const V s = hn::Set(d, scale), shift = hn::Set(d, -now);
  V total = hn::Zero(d);
  Map(
      padded, p,
      [&](V x) HWY_ATTR {
        const V e = Exp(hn::MulAdd(x, s, shift));
        total = hn::Add(total, e);
        return e;
      },
      scores);
  std::fill(p + std::min(padded, width), p + width, E(0));
  *peak = now;
  const float fade = std::exp(before - now);
  *sum = *sum * fade + Sum(total);
  if (fade == 1 || before <= kNever) return;
  const V f = hn::Set(d, fade);
  Map(
      head_dim, out, [&](V x) HWY_ATTR { return hn::Mul(x, f); }, out);
}

template <class E>
void SoftmaxBackwardRow(int n, int width, float scale, float lse, float delta, float* scores, float* dp, E* p, E* ds) {
  const D d;
  const int lanes = static_cast<int>(hn::Lanes(d)), padded = (n + lanes - 1) / lanes * lanes;
  std::fill(scores + n, scores + padded, kNever);
  std::fill(dp + n, dp + padded, 0.0f);
  const V s = hn::Set(d, scale), shift = hn::Set(d, -lse), level = hn::Set(d, delta);
  Map(
      padded, scores, [&](V x) HWY_ATTR { return Exp(hn::MulAdd(x, s, shift)); }, scores);
  Map(
      padded, p, [&](V x) HWY_ATTR { return x; }, scores);
  Map(
      padded, ds, [&](V x, V g) HWY_ATTR { return hn::Mul(hn::Mul(s, x), hn::Sub(g, level)); }, scores, dp);
  std::fill(p + std::min(padded, width), p + width, E(0));
  std::fill(ds + std::min(padded, width), ds + width, E(0));
}

template <class E>
void ScaleRow(int n, float scale, const float* x, E* y) {
  const V s = hn::Set(D(), scale);
  Map(
      n, y, [&](V v) HWY_ATTR { return hn::Mul(v, s); }, x);
}

template <class E>
float DotRow(int n, const E* a, const E* b) {
  V sum = hn::Zero(D());
  Visit(
      n, [&](V x, V y) HWY_ATTR { sum = hn::MulAdd(x, y, sum); }, a, b);
  return Sum(sum);
}

template <class E>
cpu::AttentionRows<E> AttentionRowsOf() {
  return {SoftmaxRow<E>, SoftmaxBackwardRow<E>, ScaleRow<E>, DotRow<E>};
}

cpu::BothRows<cpu::AttentionRows> AttentionTables() {
  return {AttentionRowsOf<float>(), AttentionRowsOf<BF16>()};
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(AttentionTables);

namespace cpu {
namespace {

constexpr int kQueries = 24;          // a tile of scores: 24 x 256 fp32 in L1
constexpr int kBackwardQueries = 96;  // depth of the products that give dk and dv
constexpr int kKeys = 256;

template <class E>
AttentionRows<E> RowsFor() {
  return std::get<AttentionRows<E>>(HWY_DYNAMIC_DISPATCH(AttentionTables)());
}

int RoundUp(int n, int multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// One head of one sequence: where its rows lie, and what is packed of it.
template <class E>
struct Head {
  const AttentionShape& shape;
  const GemmKernels<E>& gemm = Gemm<E>();
  const AttentionRows<E> rows = RowsFor<E>();
  const float scale;
  const E *q, *k, *v;
  const int64_t qk_ld, v_ld;

  Head(const AttentionShape& s, int64_t task, const E* qk, const E* qkv)
      : shape(s),
        scale(1 / std::sqrt(static_cast<float>(s.head_dim))),
        qk_ld(2 * int64_t{s.width()}),
        v_ld(3 * int64_t{s.width()}) {
    const int64_t row = task / s.heads * s.length, column = task % s.heads * s.head_dim;
    q = qk + row * qk_ld + column;
    k = q + s.width();
    v = qkv + row * v_ld + 2 * s.width() + column;
  }

  int padded_dim() const { return RoundUp(shape.head_dim, gemm.panel); }
  int dim_units() const { return Units<E>(shape.head_dim); }
  // All rows as columns of a right operand: x^T.
  int64_t rows_size() const { return int64_t{dim_units()} * RoundUp(shape.length, gemm.panel); }
  void PackAsRows(const E* x, int64_t ld, Unit* out) const { gemm.pack_rows(shape.length, shape.head_dim, x, ld, out); }
  const Unit* ColumnsFrom(const Unit* packed, int column) const { return packed + int64_t{column} * dim_units(); }
  // All rows as the depth of a right operand, in blocks of kKeys.
  int64_t depth_size() const { return int64_t{Units<E>(kKeys)} * padded_dim() * ((shape.length + kKeys - 1) / kKeys); }
  void PackAsDepth(const E* x, int64_t ld, Unit* out) const {
    for (int key = 0; key < shape.length; key += kKeys) {
      gemm.pack_panels(shape.head_dim, std::min(kKeys, shape.length - key), x + key * ld, ld, nullptr,
                       out + int64_t{key / kKeys} * Units<E>(kKeys) * padded_dim());
    }
  }
  int BlockUnits(int key) const { return Units<E>(std::min(kKeys, shape.length - key)); }
  const Unit* Block(const Unit* packed, int key) const { return packed + int64_t{key / kKeys} * Units<E>(kKeys) * padded_dim(); }
};

// Queries [begin, end) of one head: y and lse.
template <class E>
void ForwardTile(const Head<E>& h, int begin, int end, const Unit* keys, const Unit* values, E* y, float* lse) {
  const int count = end - begin, dim = h.shape.head_dim;
  float* scores = ThreadScratch<float>(int64_t{kQueries} * (kKeys + dim));
  float* out = scores + int64_t{kQueries} * kKeys;
  E* p = ThreadScratch<E, 1>(kQueries * kKeys);
  float peak[kQueries], sum[kQueries];
  std::fill_n(peak, count, -INFINITY);
  std::fill_n(sum, count, 0.0f);
  for (int key = 0; key < end; key += kKeys) {
    const int n = std::min(kKeys, end - key);
    h.gemm.rows_times(count, h.q + begin * h.qk_ld, h.qk_ld, nullptr, dim, h.ColumnsFrom(keys, key), h.dim_units(), n,
                      {.out = scores, .ld = kKeys});
    for (int i = 0; i < count; ++i) {
      h.rows.softmax(std::clamp(begin + i + 1 - key, 0, n), n, h.scale, scores + int64_t{i} * kKeys, peak + i, sum + i,
                     p + int64_t{i} * kKeys, dim, out + int64_t{i} * dim);
    }
    h.gemm.rows_times(count, p, kKeys, nullptr, n, h.Block(values, key), h.BlockUnits(key), dim,
                      {.out = out, .ld = dim, .residual = key == 0 ? nullptr : out, .residual_ld = dim});
  }
  for (int i = 0; i < count; ++i) {
    h.rows.scale(dim, 1 / sum[i], out + int64_t{i} * dim, y + int64_t{begin + i} * h.shape.width());
    lse[begin + i] = peak[i] + std::log(sum[i]);
  }
}

// What the backward pass of one head works on, in the scratch of its thread.
template <class E>
struct BackwardMemory {
  Unit *keys_as_rows, *keys_as_depth, *values_as_rows;  // packed whole
  Unit *queries, *dout, *left;                          // packed for one tile
  float *scores, *dp, *dq;                              // [kBackwardQueries, kKeys], the same, [kBackwardQueries, dim]
  float *dk, *dv;                                       // [T, dim]
  E *p, *ds;                                            // [kBackwardQueries, kKeys]

  explicit BackwardMemory(const Head<E>& h) {
    const int dim = h.shape.head_dim, units = Units<E>(kBackwardQueries);
    const int64_t tile = int64_t{kBackwardQueries} * kKeys, side = int64_t{units} * h.padded_dim();
    const int64_t left_size = int64_t{units} * (kKeys + h.gemm.strip), sums = int64_t{h.shape.length} * dim;
    keys_as_rows = ThreadScratch<Unit>(2 * h.rows_size() + h.depth_size() + 2 * side + left_size);
    values_as_rows = keys_as_rows + h.rows_size();
    keys_as_depth = values_as_rows + h.rows_size();
    queries = keys_as_depth + h.depth_size();
    dout = queries + side;
    left = dout + side;
    scores = ThreadScratch<float>(2 * tile + int64_t{kBackwardQueries} * dim + 2 * sums);
    dp = scores + tile;
    dq = dp + tile;
    dk = dq + int64_t{kBackwardQueries} * dim;
    dv = dk + sums;
    std::fill_n(dk, 2 * sums, 0.0f);
    p = ThreadScratch<E, 1>(2 * tile);
    ds = p + tile;
  }
};

// Queries [begin, end) against one block of n keys from `key`: adds to dq, dk and dv.
template <class E>
void BackwardBlock(const Head<E>& h, const BackwardMemory<E>& m, int begin, int end, int key, int n, const E* dy, const float* lse,
                   const float* delta) {
  const int dim = h.shape.head_dim, count = end - begin, units = Units<E>(count);
  const int64_t width = h.shape.width();
  for (int from = begin; from < end; from += kQueries) {
    const int to = std::min(end, from + kQueries), reach = std::clamp(to - key, 0, n);
    const int64_t at = int64_t{from - begin} * kKeys;
    if (reach > 0) {
      h.gemm.rows_times(to - from, h.q + from * h.qk_ld, h.qk_ld, nullptr, dim, h.ColumnsFrom(m.keys_as_rows, key), h.dim_units(),
                        reach, {.out = m.scores + at, .ld = kKeys});
      h.gemm.rows_times(to - from, dy + from * width, width, nullptr, dim, h.ColumnsFrom(m.values_as_rows, key), h.dim_units(),
                        reach, {.out = m.dp + at, .ld = kKeys});
    }
    for (int i = from; i < to; ++i) {
      const int64_t row = int64_t{i - begin} * kKeys;
      h.rows.softmax_backward(std::clamp(i + 1 - key, 0, n), n, h.scale, lse[i], delta[i - begin], m.scores + row, m.dp + row,
                              m.p + row, m.ds + row);
    }
    if (reach > 0) {
      float* dq = m.dq + int64_t{from - begin} * dim;
      h.gemm.rows_times(to - from, m.ds + at, kKeys, nullptr, reach, h.Block(m.keys_as_depth, key), h.BlockUnits(key), dim,
                        {.out = dq, .ld = dim, .residual = dq, .residual_ld = dim});
    }
  }
  const auto add = [&](const E* left, const Unit* right, float* sums) {
    h.gemm.pack_strips(n, count, left, kKeys, nullptr, m.left);
    h.gemm.strips_times(n, m.left, units, right, dim, {.out = sums, .ld = dim, .residual = sums, .residual_ld = dim});
  };
  add(m.ds, m.queries, m.dk + int64_t{key} * dim);
  add(m.p, m.dout, m.dv + int64_t{key} * dim);
}

template <class E>
void BackwardHead(const Head<E>& h, const E* y, const E* dy, const float* lse, E* dqkv) {
  const int t = h.shape.length, dim = h.shape.head_dim;
  const int64_t width = h.shape.width();
  const BackwardMemory<E> m(h);
  h.PackAsRows(h.k, h.qk_ld, m.keys_as_rows);
  h.PackAsRows(h.v, h.v_ld, m.values_as_rows);
  h.PackAsDepth(h.k, h.qk_ld, m.keys_as_depth);
  for (int begin = 0; begin < t; begin += kBackwardQueries) {
    const int end = std::min(t, begin + kBackwardQueries), count = end - begin;
    float delta[kBackwardQueries];
    for (int i = 0; i < count; ++i) delta[i] = h.rows.dot(dim, dy + (begin + i) * width, y + (begin + i) * width);
    std::fill_n(m.dq, int64_t{count} * dim, 0.0f);
    h.gemm.pack_panels(dim, count, h.q + begin * h.qk_ld, h.qk_ld, nullptr, m.queries);
    h.gemm.pack_panels(dim, count, dy + begin * width, width, nullptr, m.dout);
    for (int key = 0; key < end; key += kKeys) BackwardBlock(h, m, begin, end, key, std::min(kKeys, end - key), dy, lse, delta);
    for (int i = 0; i < count; ++i) h.rows.scale(dim, 1, m.dq + int64_t{i} * dim, dqkv + (begin + i) * h.v_ld);
  }
  for (int64_t i = 0; i < t; ++i) {
    h.rows.scale(dim, 1, m.dk + i * dim, dqkv + i * h.v_ld + width);
    h.rows.scale(dim, 1, m.dv + i * dim, dqkv + i * h.v_ld + 2 * width);
  }
}

}  // namespace

template <class E>
void AttentionForward(const AttentionShape& shape, const E* qk, const E* qkv, E* y, float* lse) {
  const int t = shape.length;
  ParallelFor(int64_t{shape.sequences} * shape.heads, [&](int64_t task) {
    const Head<E> h(shape, task, qk, qkv);
    Unit* keys = ThreadScratch<Unit>(h.rows_size() + h.depth_size());
    Unit* values = keys + h.rows_size();
    h.PackAsRows(h.k, h.qk_ld, keys);
    h.PackAsDepth(h.v, h.v_ld, values);
    E* out = y + task / shape.heads * t * shape.width() + task % shape.heads * shape.head_dim;
    for (int begin = 0; begin < t; begin += kQueries)
      ForwardTile(h, begin, std::min(t, begin + kQueries), keys, values, out, lse + task * t);
  });
}

template <class E>
void AttentionBackward(const AttentionShape& shape, const E* qk, const E* qkv, const E* y, const float* lse, const E* dy, E* dqkv) {
  const int64_t t = shape.length;
  ParallelFor(int64_t{shape.sequences} * shape.heads, [&](int64_t task) {
    const int64_t row = task / shape.heads * t, column = task % shape.heads * shape.head_dim;
    const int64_t at = row * shape.width() + column;
    BackwardHead(Head<E>(shape, task, qk, qkv), y + at, dy + at, lse + task * t, dqkv + row * 3 * shape.width() + column);
  });
}

template void AttentionForward(const AttentionShape&, const float*, const float*, float*, float*);
template void AttentionForward(const AttentionShape&, const BF16*, const BF16*, BF16*, float*);
template void AttentionBackward(const AttentionShape&, const float*, const float*, const float*, const float*, const float*,
                                float*);
template void AttentionBackward(const AttentionShape&, const BF16*, const BF16*, const BF16*, const float*, const BF16*, BF16*);

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
