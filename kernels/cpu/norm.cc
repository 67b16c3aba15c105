// RMSNorm and rotary position embedding.
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

float RmsNormRow(size_t n, float epsilon, const float* x, const float* w, float* y) {
  V squares = hn::Zero(D());
  Visit(
      n, [&](V v) HWY_ATTR { squares = hn::MulAdd(v, v, squares); }, x);
  const float rstd = 1.0f / std::sqrt(Sum(squares) / static_cast<float>(n) + epsilon);
  const V scale = hn::Set(D(), rstd);
  Map(
      n, y, [&](V v, V weight) HWY_ATTR { return hn::Mul(hn::Mul(v, scale), weight); }, x, w);
  return rstd;
}

// dx (+)= s * dy * w - x * s^3 / n * <dy * w, x>;  dw += dy * x * s
void RmsNormBackwardRow(size_t n, const float* x, const float* w, float s, const float* dy, float* dx, bool accumulate, float* dw) {
  V dot = hn::Zero(D());
  Visit(
      n, [&](V v, V weight, V g) HWY_ATTR { dot = hn::MulAdd(hn::Mul(g, weight), v, dot); }, x, w, dy);
  const V scale = hn::Set(D(), s), pull = hn::Set(D(), -s * s * s / static_cast<float>(n) * Sum(dot));
  const auto gradient = [&](V v, V weight, V g) HWY_ATTR { return hn::MulAdd(v, pull, hn::Mul(hn::Mul(scale, g), weight)); };
  Map(
      n, dw, [&](V sum, V v, V g) HWY_ATTR { return hn::MulAdd(hn::Mul(g, scale), v, sum); }, dw, x, dy);
  if (accumulate) {
    Map(
        n, dx, [&](V old, V v, V weight, V g) HWY_ATTR { return hn::Add(old, gradient(v, weight, g)); }, dx, x, w, dy);
  } else {
    Map(n, dx, gradient, x, w, dy);
  }
}

// One head of one position: (a, b) -> (a cos - b sin, b cos + a sin) for the two halves.
void RopeHead(size_t half, const float* cosine, const float* sine, float* head) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t j = 0;
  for (; j + lanes <= half; j += lanes) {
    const V c = hn::LoadU(d, cosine + j), s = hn::LoadU(d, sine + j);
    const V a = hn::LoadU(d, head + j), b = hn::LoadU(d, head + half + j);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, head + j);
    hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, head + half + j);
  }
  for (; j < half; ++j) {
    const float a = head[j], b = head[half + j];
    head[j] = a * cosine[j] - b * sine[j];
    head[half + j] = b * cosine[j] + a * sine[j];
  }
}

void AddRow(size_t n, const float* x, float* y) {
  Map(
      n, y, [](V a, V b) HWY_ATTR { return hn::Add(a, b); }, y, x);
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(RmsNormRow);
HWY_EXPORT(RmsNormBackwardRow);
HWY_EXPORT(RopeHead);
HWY_EXPORT(AddRow);

namespace cpu {

void RmsNormForward(int rows, int d, float epsilon, const float* x, const float* w, float* y, float* rstd) {
  const auto row = HWY_DYNAMIC_DISPATCH(RmsNormRow);
  ParallelBlocks(rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) rstd[r] = row(d, epsilon, x + r * d, w, y + r * d);
  });
}

void RmsNormBackward(int rows, int d, const float* x, const float* w, const float* rstd, const float* dy, float* dx,
                     bool accumulate, float* dw) {
  const auto row = HWY_DYNAMIC_DISPATCH(RmsNormBackwardRow);
  const auto add = HWY_DYNAMIC_DISPATCH(AddRow);
  // At most 32 partial sums of dw: a partition that depends on the number of rows alone.
  const int64_t block = std::max<int64_t>(16, (rows + 31) / 32);
  const int64_t blocks = (rows + block - 1) / block;
  float* partial = ThreadScratch<float>(blocks * d);
  std::fill_n(partial, blocks * d, 0.0f);
  ParallelBlocks(rows, block, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      row(d, x + r * d, w, rstd[r], dy + r * d, dx + r * d, accumulate, partial + begin / block * d);
    }
  });
  for (int64_t i = 0; i < blocks; ++i) add(d, partial + i * d, dw);
}

void Rope(int b, int t, int heads, int head_dim, float theta, bool inverse, float* x) {
  const auto head = HWY_DYNAMIC_DISPATCH(RopeHead);
  const int half = head_dim / 2;
  // Angles in double: at position 4096 a float angle would be off by 2e-4.
  float* table = ThreadScratch<float>(size_t{2} * t * half);
  ParallelBlocks(t, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int j = 0; j < half; ++j) {
        const double angle = static_cast<double>(i) * std::pow(static_cast<double>(theta), -2.0 * j / head_dim);
        table[i * 2 * half + j] = static_cast<float>(std::cos(angle));
        table[(i * 2 + 1) * half + j] = static_cast<float>(inverse ? -std::sin(angle) : std::sin(angle));
      }
    }
  });
  ParallelBlocks(int64_t{b} * t, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* cosine = table + r % t * 2 * half;
      for (int h = 0; h < heads; ++h) head(half, cosine, cosine + half, x + (r * heads + h) * head_dim);
    }
  });
}

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
