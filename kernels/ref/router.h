// Router (softmax over all experts, then top-k without renormalisation, as OLMoE does it), and moving rows to experts and back.
#ifndef POLYMOE_KERNELS_REF_ROUTER_H_
#define POLYMOE_KERNELS_REF_ROUTER_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace polymoe::ref {

template <typename T>
void RouterForward(int n, int e, int k, const T* logits, T* probs, int32_t* experts, T* weights, T* lse, int32_t* counts) {
  std::fill(counts, counts + e, 0);
  std::vector<int32_t> order(e);
  for (int i = 0; i < n; ++i) {
    const T* row = logits + int64_t{i} * e;
    const double peak = *std::max_element(row, row + e);
    double sum = 0;
    for (int j = 0; j < e; ++j) sum += std::exp(row[j] - peak);
    const double row_lse = peak + std::log(sum);
    lse[i] = static_cast<T>(row_lse);
    T* p = probs + int64_t{i} * e;
    for (int j = 0; j < e; ++j) p[j] = static_cast<T>(std::exp(row[j] - row_lse));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    for (int j = 0; j < k; ++j) {
      experts[int64_t{i} * k + j] = order[j];
      weights[int64_t{i} * k + j] = p[order[j]];
      ++counts[order[j]];
    }
  }
}

// With g = d(objective)/d(probs):  dlogits_j = p_j (g_j - sum_i p_i g_i) + 2 z lse p_j.
template <typename T>
void RouterBackward(int n, int e, int k, const T* probs, const int32_t* experts, const T* lse, const int32_t* counts,
                    const T* dweights, T balance, T z, T* dlogits) {
  std::vector<double> g(e);
  for (int i = 0; i < n; ++i) {
    const T* p = probs + int64_t{i} * e;
    for (int j = 0; j < e; ++j) g[j] = static_cast<double>(balance) * counts[j];
    for (int j = 0; j < k; ++j) g[experts[int64_t{i} * k + j]] += dweights[int64_t{i} * k + j];
    double mean = 0;
    for (int j = 0; j < e; ++j) mean += p[j] * g[j];
    for (int j = 0; j < e; ++j) dlogits[int64_t{i} * e + j] = static_cast<T>(p[j] * (g[j] - mean + 2.0 * z * lse[i]));
  }
}

// A stable counting sort of the (token, choice) pairs by expert.
inline void DispatchPlan(int n, int e, int k, const int32_t* experts, int32_t* offsets, int32_t* source, int32_t* inverse) {
  std::fill(offsets, offsets + e + 1, 0);
  const int32_t m = n * k;
  for (int32_t i = 0; i < m; ++i) ++offsets[experts[i] + 1];
  for (int j = 0; j < e; ++j) offsets[j + 1] += offsets[j];
  // offsets[j] walks from the start of group j to its end, which is the start of group j + 1: shift back afterwards.
  for (int32_t i = 0; i < m; ++i) {
    const int32_t row = offsets[experts[i]]++;
    source[row] = i;
    inverse[i] = row;
  }
  for (int j = e; j > 0; --j) offsets[j] = offsets[j - 1];
  offsets[0] = 0;
}

template <typename T>
void Dispatch(int m, int d, int k, const int32_t* source, const T* x, T* rows) {
  for (int64_t r = 0; r < m; ++r) std::copy_n(x + int64_t{source[r] / k} * d, d, rows + r * d);
}

template <typename T>
void DispatchBackward(int n, int d, int k, const int32_t* inverse, const T* drows, T* dx, bool accumulate) {
  for (int64_t i = 0; i < n; ++i) {
    for (int c = 0; c < d; ++c) {
      double sum = accumulate ? dx[i * d + c] : T{0};
      for (int j = 0; j < k; ++j) sum += drows[int64_t{inverse[i * k + j]} * d + c];
      dx[i * d + c] = static_cast<T>(sum);
    }
  }
}

template <typename T>
void Combine(int n, int d, int k, const int32_t* inverse, const T* weights, const T* rows, T* y) {
  for (int64_t i = 0; i < n; ++i) {
    for (int c = 0; c < d; ++c) {
      double sum = y[i * d + c];
      for (int j = 0; j < k; ++j) sum += static_cast<double>(weights[i * k + j]) * rows[int64_t{inverse[i * k + j]} * d + c];
      y[i * d + c] = static_cast<T>(sum);
    }
  }
}

template <typename T>
void CombineBackward(int m, int d, int k, const int32_t* source, const T* weights, const T* rows, const T* dy, T* drows,
                     T* dweights) {
  for (int64_t r = 0; r < m; ++r) {
    const int32_t s = source[r];
    const T* dyr = dy + int64_t{s / k} * d;
    double dot = 0;
    for (int c = 0; c < d; ++c) {
      dot += static_cast<double>(rows[r * d + c]) * dyr[c];
      drows[r * d + c] = weights[s] * dyr[c];
    }
    dweights[s] = static_cast<T>(dot);
  }
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_ROUTER_H_
