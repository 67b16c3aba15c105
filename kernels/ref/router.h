// Router (softmax over all experts, then top-k without renormalisation, as OLMoE does it), and the way of rows to experts and back.
// T is float or double, E double, float or BF16.
#ifndef POLYMOE_KERNELS_REF_ROUTER_H_
#define POLYMOE_KERNELS_REF_ROUTER_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace polymoe::ref {

template <typename T>
void RouterForward(int n, int e, int k, const T* logits, T* probs, int32_t* experts, T* weights, T* lse, int32_t* counts,
                   double* sums) {
  std::fill(counts, counts + e, 0);
  std::fill(sums, sums + e + 2, 0.0);
  std::vector<int32_t> order(e);
  for (int64_t i = 0; i < n; ++i) {
    const T* row = logits + i * e;
    const double peak = *std::max_element(row, row + e);
    double sum = 0;
    for (int j = 0; j < e; ++j) sum += std::exp(row[j] - peak);
    const double row_lse = peak + std::log(sum);
    lse[i] = static_cast<T>(row_lse);
    sums[e] += row_lse * row_lse;
    T* p = probs + i * e;
    for (int j = 0; j < e; ++j) {
      const double probability = std::exp(row[j] - row_lse);
      p[j] = static_cast<T>(probability);
      sums[j] += probability;
      sums[e + 1] -= probability * (row[j] - row_lse);
    }
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    for (int j = 0; j < k; ++j) {
      experts[i * k + j] = order[j];
      weights[i * k + j] = p[order[j]];
      ++counts[order[j]];
    }
  }
}

// With g = d(objective)/d(probs):  dlogits_j = p_j (g_j - sum_i p_i g_i) + 2 z lse p_j.
template <typename T, typename E>
void RouterBackward(int n, int e, int k, const T* probs, const int32_t* experts, const T* lse, const int32_t* counts,
                    const T* dweights, T balance, T z, E* dlogits) {
  std::vector<double> g(e);
  for (int64_t i = 0; i < n; ++i) {
    const T* p = probs + i * e;
    for (int j = 0; j < e; ++j) g[j] = static_cast<double>(balance) * counts[j];
    for (int j = 0; j < k; ++j) g[experts[i * k + j]] += dweights[i * k + j];
    double mean = 0;
    for (int j = 0; j < e; ++j) mean += p[j] * g[j];
    for (int j = 0; j < e; ++j) dlogits[i * e + j] = static_cast<E>(p[j] * (g[j] - mean + 2.0 * z * lse[i]));
  }
}

// A stable counting sort of the (token, choice) pairs by expert.
inline void DispatchPlan(int n, int first, int e, int k, const int32_t* experts, int32_t* offsets, int32_t* source, int32_t* tokens,
                         int32_t* inverse) {
  std::fill(offsets, offsets + e + 1, 0);
  const int32_t m = n * k;
  const auto here = [&](int32_t i) { return experts[i] >= first && experts[i] < first + e; };
  for (int32_t i = 0; i < m; ++i) {
    if (here(i)) ++offsets[experts[i] - first + 1];
  }
  for (int j = 0; j < e; ++j) offsets[j + 1] += offsets[j];
  // offsets[j] walks from the start of group j to its end, which is the start of group j + 1: shift back afterwards.
  for (int32_t i = 0; i < m; ++i) {
    if (!here(i)) {
      inverse[i] = -1;
      continue;
    }
    const int32_t row = offsets[experts[i] - first]++;
    source[row] = i;
    tokens[row] = i / k;
    inverse[i] = row;
  }
  for (int j = e; j > 0; --j) offsets[j] = offsets[j - 1];
  offsets[0] = 0;
}

template <typename E>
void Gather(int n, int d, const int32_t* rows, const E* x, E* y) {
  for (int64_t i = 0; i < n; ++i) std::copy_n(x + int64_t{rows[i]} * d, d, y + i * d);
}

template <typename T, typename E, typename Y>
void Combine(int n, int d, int k, const int32_t* inverse, const E* rows, const T* residual, Y* y) {
  for (int64_t i = 0; i < n; ++i) {
    for (int c = 0; c < d; ++c) {
      double sum = residual == nullptr ? 0 : static_cast<double>(residual[i * d + c]);
      for (int j = 0; j < k; ++j) {
        if (inverse[i * k + j] >= 0) sum += rows[int64_t{inverse[i * k + j]} * d + c];
      }
      y[i * d + c] = static_cast<Y>(sum);
    }
  }
}

template <typename E>
void CombineRows(int n, int d, int k, const int32_t* inverse, const E* rows, E* y) {
  Combine<float>(n, d, k, inverse, rows, nullptr, y);
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_ROUTER_H_
