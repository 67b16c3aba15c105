// Router, and rows on their way to experts and back.
#include <cmath>
#include <cstring>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/routing.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

// y += scale * x
void AxpyRow(size_t n, float scale, const float* x, float* y) {
  const V s = hn::Set(D(), scale);
  Map(
      n, y, [&](V a, V b) HWY_ATTR { return hn::MulAdd(s, b, a); }, y, x);
}

// drow = weight * dy; returns <row, dy>.
float CombineBackwardRow(size_t n, float weight, const float* row, const float* dy, float* drow) {
  const V w = hn::Set(D(), weight);
  V dot = hn::Zero(D());
  Visit(
      n, [&](V a, V b) HWY_ATTR { dot = hn::MulAdd(a, b, dot); }, row, dy);
  Map(
      n, drow, [&](V g) HWY_ATTR { return hn::Mul(w, g); }, dy);
  return Sum(dot);
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(AxpyRow);
HWY_EXPORT(CombineBackwardRow);

namespace cpu {
namespace {

// The k largest of p[0, e), falling; of equals the lower index first. k is small: insertion into a sorted list.
void TopK(int e, int k, const float* p, int32_t* experts, float* weights) {
  int found = 0;
  for (int j = 0; j < e; ++j) {
    if (found == k && !(p[j] > weights[k - 1])) continue;
    int at = found < k ? found++ : k - 1;
    for (; at > 0 && p[j] > weights[at - 1]; --at) {
      weights[at] = weights[at - 1];
      experts[at] = experts[at - 1];
    }
    weights[at] = p[j];
    experts[at] = j;
  }
}

}  // namespace

void RouterForward(int n, int e, int k, const float* logits, float* probs, int32_t* experts, float* weights, float* lse,
                   int32_t* counts) {
  ParallelBlocks(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = logits + i * e;
      float* p = probs + i * e;
      const float peak = *std::max_element(row, row + e);
      float sum = 0;
      for (int j = 0; j < e; ++j) sum += p[j] = std::exp(row[j] - peak);
      for (int j = 0; j < e; ++j) p[j] /= sum;
      lse[i] = peak + std::log(sum);
      // By logits: distinct logits can round to equal probabilities.
      TopK(e, k, row, experts + i * k, weights + i * k);
      for (int j = 0; j < k; ++j) weights[i * k + j] = p[experts[i * k + j]];
    }
  });
  std::fill_n(counts, e, 0);
  for (int64_t i = 0; i < int64_t{n} * k; ++i) ++counts[experts[i]];
}

void RouterBackward(int n, int e, int k, const float* probs, const int32_t* experts, const float* lse, const int32_t* counts,
                    const float* dweights, float balance, float z, float* dlogits) {
  ParallelBlocks(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* p = probs + i * e;
      float* g = dlogits + i * e;
      for (int j = 0; j < e; ++j) g[j] = balance * static_cast<float>(counts[j]);
      for (int j = 0; j < k; ++j) g[experts[i * k + j]] += dweights[i * k + j];
      float mean = 0;
      for (int j = 0; j < e; ++j) mean += p[j] * g[j];
      const float pull = 2 * z * lse[i] - mean;
      for (int j = 0; j < e; ++j) g[j] = p[j] * (g[j] + pull);
    }
  });
}

void EmbeddingForward(int n, int d, const int32_t* tokens, const float* w, float* y) {
  ParallelBlocks(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::memcpy(y + i * d, w + int64_t{tokens[i]} * d, d * sizeof(float));
  });
}

void Dispatch(int m, int d, int k, const int32_t* source, const float* x, float* rows) {
  ParallelBlocks(m, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) std::memcpy(rows + r * d, x + int64_t{source[r] / k} * d, d * sizeof(float));
  });
}

void DispatchBackward(int n, int d, int k, const int32_t* inverse, const float* drows, float* dx, bool accumulate) {
  const auto axpy = HWY_DYNAMIC_DISPATCH(AxpyRow);
  ParallelBlocks(n, 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (!accumulate) std::fill_n(dx + i * d, d, 0.0f);
      for (int j = 0; j < k; ++j) axpy(d, 1, drows + int64_t{inverse[i * k + j]} * d, dx + i * d);
    }
  });
}

void Combine(int n, int d, int k, const int32_t* inverse, const float* weights, const float* rows, float* y) {
  const auto axpy = HWY_DYNAMIC_DISPATCH(AxpyRow);
  ParallelBlocks(n, 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int j = 0; j < k; ++j) axpy(d, weights[i * k + j], rows + int64_t{inverse[i * k + j]} * d, y + i * d);
    }
  });
}

void CombineBackward(int m, int d, int k, const int32_t* source, const float* weights, const float* rows, const float* dy,
                     float* drows, float* dweights) {
  const auto row = HWY_DYNAMIC_DISPATCH(CombineBackwardRow);
  ParallelBlocks(m, 32, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int32_t s = source[r];
      dweights[s] = row(d, weights[s], rows + r * d, dy + int64_t{s / k} * d, drows + r * d);
    }
  });
}

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
