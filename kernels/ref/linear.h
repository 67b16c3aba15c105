// Plain loops for linear layers and the embedding. T is float or double, E double, float or BF16; sums run in double.
#ifndef POLYMOE_KERNELS_REF_LINEAR_H_
#define POLYMOE_KERNELS_REF_LINEAR_H_

#include <cstdint>

#include "kernels/ops.h"

namespace polymoe::ref {

// Row r of [.,width], or row rows[r] of it.
template <typename E>
const E* GatheredRow(const E* x, const int32_t* rows, int64_t r, int width) {
  return x + (rows == nullptr ? r : rows[r]) * width;
}

// f(row, weight of its group) for all rows; w is [groups.count, n, k].
template <typename W, class F>
void ForGroupedRows(RowGroups groups, int64_t weight_size, W* w, const F& f) {
  for (int g = 0; g < groups.count; ++g) {
    for (int64_t r = groups.offsets[g]; r < groups.offsets[g + 1]; ++r) f(r, w + g * weight_size);
  }
}

// y[j] (+ start[j]) = <x, w[j]>
template <typename T, typename E, typename Y>
void LinearRow(int n, int k, const E* x, const E* w, const T* start, Y* y) {
  for (int j = 0; j < n; ++j) {
    double sum = start == nullptr ? 0 : static_cast<double>(start[j]);
    for (int p = 0; p < k; ++p) sum += static_cast<double>(x[p]) * static_cast<double>(w[int64_t{j} * k + p]);
    y[j] = static_cast<Y>(sum);
  }
}

template <typename T, typename E, typename Y>
void LinearBackwardInputRow(int n, int k, const E* dy, const E* w, const T* start, Y* dx) {
  for (int p = 0; p < k; ++p) {
    double sum = start == nullptr ? 0 : static_cast<double>(start[p]);
    for (int j = 0; j < n; ++j) sum += static_cast<double>(dy[j]) * static_cast<double>(w[int64_t{j} * k + p]);
    dx[p] = static_cast<Y>(sum);
  }
}

template <typename E>
void Linear(RowGroups groups, int n, int k, const E* x, const int32_t* rows, const E* w, E* y) {
  ForGroupedRows(groups, int64_t{n} * k, w,
                 [&](int64_t r, const E* weight) { LinearRow<E>(n, k, GatheredRow(x, rows, r, k), weight, nullptr, y + r * n); });
}

template <typename T, typename E>
void LinearFp32(RowGroups groups, int n, int k, const E* x, const E* w, const T* residual, T* y) {
  ForGroupedRows(groups, int64_t{n} * k, w, [&](int64_t r, const E* weight) {
    LinearRow(n, k, x + r * k, weight, residual == nullptr ? nullptr : residual + r * n, y + r * n);
  });
}

template <typename E>
void LinearBackwardInput(RowGroups groups, int n, int k, const E* dy, const int32_t* rows, const E* w, E* dx) {
  ForGroupedRows(groups, int64_t{n} * k, w, [&](int64_t r, const E* weight) {
    LinearBackwardInputRow<E>(n, k, GatheredRow(dy, rows, r, n), weight, nullptr, dx + r * k);
  });
}

template <typename T, typename E>
void LinearBackwardInputFp32(RowGroups groups, int n, int k, const E* dy, const E* w, bool accumulate, T* dx) {
  ForGroupedRows(groups, int64_t{n} * k, w, [&](int64_t r, const E* weight) {
    LinearBackwardInputRow(n, k, dy + r * n, weight, accumulate ? dx + r * k : nullptr, dx + r * k);
  });
}

template <typename T, typename E>
void LinearBackwardWeight(RowGroups groups, int n, int k, const E* dy, const int32_t* dy_rows, const E* x, const int32_t* x_rows,
                          bool accumulate, T* dw) {
  for (int g = 0; g < groups.count; ++g) {
    for (int j = 0; j < n; ++j) {
      for (int p = 0; p < k; ++p) {
        T& to = dw[(int64_t{g} * n + j) * k + p];
        double sum = accumulate ? to : T{0};
        for (int64_t r = groups.offsets[g]; r < groups.offsets[g + 1]; ++r) {
          sum += static_cast<double>(GatheredRow(dy, dy_rows, r, n)[j]) * static_cast<double>(GatheredRow(x, x_rows, r, k)[p]);
        }
        to = static_cast<T>(sum);
      }
    }
  }
}

template <typename T>
void EmbeddingForward(int n, int d, const int32_t* tokens, const T* w, T* y) {
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < d; ++j) y[int64_t{i} * d + j] = w[int64_t{tokens[i]} * d + j];
  }
}

template <typename T>
void EmbeddingBackward(int n, int d, const int32_t* tokens, const T* dy, T* dw) {
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < d; ++j) dw[int64_t{tokens[i]} * d + j] += dy[int64_t{i} * d + j];
  }
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_LINEAR_H_
