// Causal attention in tiles of query rows: one (sequence, head) a task, its scores a [kTile, T] block of the thread's scratch. Key
// columns past a tile's last row are never computed.
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

// scores[0, n) -> softmax(scale * scores); scores[n, width) -> 0. Returns the log-sum-exp of the scaled scores.
float SoftmaxRow(size_t n, size_t width, float scale, float* scores) {
  const D d;
  float peak = scores[0];
  for (size_t j = 1; j < n; ++j) peak = peak < scores[j] ? scores[j] : peak;
  const V s = hn::Set(d, scale), shift = hn::Set(d, -scale * peak);
  Map(
      n, scores, [&](V x) HWY_ATTR { return hn::Exp(d, hn::MulAdd(x, s, shift)); }, scores);
  V total = hn::Zero(d);
  Visit(
      n, [&](V e) HWY_ATTR { total = hn::Add(total, e); }, scores);
  const float sum = Sum(total);
  const V inverse = hn::Set(d, 1.0f / sum);
  Map(
      n, scores, [&](V e) HWY_ATTR { return hn::Mul(e, inverse); }, scores);
  std::fill(scores + n, scores + width, 0.0f);
  return scale * peak + std::log(sum);
}

// scores -> p = exp(scale * scores - lse) and dp -> dscores = scale * p * (dp - delta), zero behind n.
void SoftmaxBackwardRow(size_t n, size_t width, float scale, float lse, float delta, float* scores, float* dp) {
  const D d;
  const V s = hn::Set(d, scale), l = hn::Set(d, -lse), shift = hn::Set(d, delta);
  Map(
      n, scores, [&](V x) HWY_ATTR { return hn::Exp(d, hn::MulAdd(x, s, l)); }, scores);
  Map(
      n, dp, [&](V p, V g) HWY_ATTR { return hn::Mul(hn::Mul(s, p), hn::Sub(g, shift)); }, scores, dp);
  std::fill(scores + n, scores + width, 0.0f);
  std::fill(dp + n, dp + width, 0.0f);
}

float DotRow(size_t n, const float* a, const float* b) {
  V sum = hn::Zero(D());
  Visit(
      n, [&](V x, V y) HWY_ATTR { sum = hn::MulAdd(x, y, sum); }, a, b);
  return Sum(sum);
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(SoftmaxRow);
HWY_EXPORT(SoftmaxBackwardRow);
HWY_EXPORT(DotRow);

namespace cpu {
namespace {

constexpr int kTile = 128;

float Scale(int head_dim) {
  return 1.0f / std::sqrt(static_cast<float>(head_dim));
}

}  // namespace

void AttentionForward(int b, int t, int heads, int head_dim, const float* q, const float* k, const float* v, float* y, float* lse) {
  const auto softmax = HWY_DYNAMIC_DISPATCH(SoftmaxRow);
  const float scale = Scale(head_dim);
  const int64_t ld = int64_t{heads} * head_dim;
  ParallelFor(int64_t{b} * heads, [&](int64_t task) {
    const int64_t base = task / heads * t * ld + task % heads * head_dim;
    float* scores = ThreadScratch<float>(int64_t{kTile} * t);
    for (int begin = 0; begin < t; begin += kTile) {
      const int end = std::min(t, begin + kTile), rows = end - begin;
      Gemm('N', 'T', rows, end, head_dim, q + base + begin * ld, ld, k + base, ld, 0, scores, end);
      for (int i = begin; i < end; ++i) lse[task * t + i] = softmax(i + 1, end, scale, scores + int64_t{i - begin} * end);
      Gemm('N', 'N', rows, head_dim, end, scores, end, v + base, ld, 0, y + base + begin * ld, ld);
    }
  });
}

void AttentionBackward(int b, int t, int heads, int head_dim, const float* q, const float* k, const float* v, const float* y,
                       const float* lse, const float* dy, float* dq, float* dk, float* dv) {
  const auto softmax_backward = HWY_DYNAMIC_DISPATCH(SoftmaxBackwardRow);
  const auto dot = HWY_DYNAMIC_DISPATCH(DotRow);
  const float scale = Scale(head_dim);
  const int64_t ld = int64_t{heads} * head_dim;
  ParallelFor(int64_t{b} * heads, [&](int64_t task) {
    const int64_t base = task / heads * t * ld + task % heads * head_dim;
    float* scores = ThreadScratch<float>(int64_t{2} * kTile * t);
    float* dscores = scores + int64_t{kTile} * t;
    // From the last tile to the first: the last one reaches every key and so sets all of dk and dv, the others add.
    for (int begin = (t - 1) / kTile * kTile; begin >= 0; begin -= kTile) {
      const int end = std::min(t, begin + kTile), rows = end - begin;
      const int64_t at = base + begin * ld;
      const float beta = end == t ? 0.0f : 1.0f;
      Gemm('N', 'T', rows, end, head_dim, q + at, ld, k + base, ld, 0, scores, end);
      Gemm('N', 'T', rows, end, head_dim, dy + at, ld, v + base, ld, 0, dscores, end);
      for (int i = begin; i < end; ++i) {
        const float delta = dot(head_dim, dy + base + i * ld, y + base + i * ld);
        softmax_backward(i + 1, end, scale, lse[task * t + i], delta, scores + int64_t{i - begin} * end,
                         dscores + int64_t{i - begin} * end);
      }
      Gemm('N', 'N', rows, head_dim, end, dscores, end, k + base, ld, 0, dq + at, ld);
      Gemm('T', 'N', end, head_dim, rows, dscores, end, q + at, ld, beta, dk + base, ld);
      Gemm('T', 'N', end, head_dim, rows, scores, end, dy + at, ld, beta, dv + base, ld);
    }
  });
}

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
