// Plain loops for linear layers and the embedding. T is float or double; sums run in double.
#ifndef POLYMOE_KERNELS_REF_LINEAR_H_
#define POLYMOE_KERNELS_REF_LINEAR_H_

#include <cstdint>

#include "kernels/ops.h"

namespace polymoe::ref {

// y[m,n] = x[m,k] w[n,k]^T
template <typename T>
void LinearForward(int m, int n, int k, const T* x, const T* w, T* y) {
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int p = 0; p < k; ++p) sum += static_cast<double>(x[int64_t{i} * k + p]) * w[int64_t{j} * k + p];
      y[int64_t{i} * n + j] = static_cast<T>(sum);
    }
  }
}

// dx[m,k] = dy[m,n] w[n,k]; with accumulate, +=
template <typename T>
void LinearBackwardInput(int m, int n, int k, const T* dy, const T* w, T* dx, bool accumulate) {
  for (int i = 0; i < m; ++i) {
    for (int p = 0; p < k; ++p) {
      double sum = accumulate ? dx[int64_t{i} * k + p] : T{0};
      for (int j = 0; j < n; ++j) sum += static_cast<double>(dy[int64_t{i} * n + j]) * w[int64_t{j} * k + p];
      dx[int64_t{i} * k + p] = static_cast<T>(sum);
    }
  }
}

// dw[n,k] += dy[m,n]^T x[m,k]
template <typename T>
void LinearBackwardWeight(int m, int n, int k, const T* dy, const T* x, T* dw) {
  for (int j = 0; j < n; ++j) {
    for (int p = 0; p < k; ++p) {
      double sum = dw[int64_t{j} * k + p];
      for (int i = 0; i < m; ++i) sum += static_cast<double>(dy[int64_t{i} * n + j]) * x[int64_t{i} * k + p];
      dw[int64_t{j} * k + p] = static_cast<T>(sum);
    }
  }
}

// The same a group of rows, each with a weight of its own.
template <typename T>
void GroupedLinearForward(RowGroups groups, int n, int k, const T* x, const T* w, T* y) {
  for (int g = 0; g < groups.count; ++g) {
    const int64_t begin = groups.offsets[g];
    LinearForward(static_cast<int>(groups.offsets[g + 1] - begin), n, k, x + begin * k, w + int64_t{g} * n * k, y + begin * n);
  }
}

template <typename T>
void GroupedLinearBackwardInput(RowGroups groups, int n, int k, const T* dy, const T* w, T* dx) {
  for (int g = 0; g < groups.count; ++g) {
    const int64_t begin = groups.offsets[g];
    LinearBackwardInput(static_cast<int>(groups.offsets[g + 1] - begin), n, k, dy + begin * n, w + int64_t{g} * n * k,
                        dx + begin * k, false);
  }
}

template <typename T>
void GroupedLinearBackwardWeight(RowGroups groups, int n, int k, const T* dy, const T* x, T* dw) {
  for (int g = 0; g < groups.count; ++g) {
    const int64_t begin = groups.offsets[g];
    LinearBackwardWeight(static_cast<int>(groups.offsets[g + 1] - begin), n, k, dy + begin * n, x + begin * k,
                         dw + int64_t{g} * n * k);
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
