// RMSNorm (Zhang & Sennrich 2019, as in LLaMA and OLMoE) and rotary position embedding (Su et al. 2021, half rotation).
// T is float or double, E double, float or BF16.
#ifndef POLYMOE_KERNELS_REF_NORM_H_
#define POLYMOE_KERNELS_REF_NORM_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace polymoe::ref {

template <typename T, typename X>
T Rstd(int d, T epsilon, const X* x) {
  double sum = 0;
  for (int j = 0; j < d; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  return static_cast<T>(1 / std::sqrt(sum / d + epsilon));
}

template <typename T, typename E>
void RmsNormForward(int rows, int d, T epsilon, const T* x, const T* w, E* y, T* rstd) {
  for (int64_t r = 0; r < rows; ++r) {
    rstd[r] = Rstd(d, epsilon, x + r * d);
    for (int j = 0; j < d; ++j) y[r * d + j] = static_cast<E>(static_cast<double>(x[r * d + j]) * rstd[r] * w[j]);
  }
}

// With s = rstd and g = dy * w:  dx = s * g - x * s^3 / d * <g, x>,  dw += dy * x * s. dx may be dy.
template <typename T, typename X, typename G>
void NormRowBackward(int d, const X* x, const T* w, double s, const G* dy, double* dx, double* dw) {
  double dot = 0;
  for (int j = 0; j < d; ++j) dot += static_cast<double>(dy[j]) * w[j] * x[j];
  for (int j = 0; j < d; ++j) {
    const double g = dy[j];
    dx[j] = s * g * w[j] - x[j] * s * s * s / d * dot;
    dw[j] += g * x[j] * s;
  }
}

template <typename T, typename E>
void RmsNormBackward(int rows, int d, const T* x, const T* w, const T* rstd, const T* dy, T* dx, bool accumulate, E* rounded,
                     T* dw) {
  std::vector<double> gradient(d), sums(dw, dw + d);
  for (int64_t r = 0; r < rows; ++r) {
    NormRowBackward(d, x + r * d, w, rstd[r], dy + r * d, gradient.data(), sums.data());
    for (int j = 0; j < d; ++j) {
      T& to = dx[r * d + j];
      to = static_cast<T>(accumulate ? to + gradient[j] : gradient[j]);
      if (rounded != nullptr) rounded[r * d + j] = static_cast<E>(to);
    }
  }
  for (int j = 0; j < d; ++j) dw[j] = static_cast<T>(sums[j]);
}

// All heads of a row at position i, in place; sign -1 turns back.
template <typename T>
void RopeRow(const AttentionShape& shape, int i, const T* rope, double sign, double* x) {
  const int half = shape.head_dim / 2;
  const T *cosine = rope + int64_t{i} * half, *sine = cosine + int64_t{shape.length} * half;
  for (int h = 0; h < shape.heads; ++h) {
    double *first = x + int64_t{h} * shape.head_dim, *second = first + half;
    for (int j = 0; j < half; ++j) {
      const double a = first[j], b = second[j], c = cosine[j], s = sign * sine[j];
      first[j] = a * c - b * s;
      second[j] = b * c + a * s;
    }
  }
}

template <typename T, typename E>
void QkForward(const AttentionShape& shape, T epsilon, const T* rope, const E* qkv, const T* wq, const T* wk, E* qk, T* rstd) {
  const int d = shape.width();
  std::vector<double> row(d);
  for (int64_t n = 0; n < shape.tokens(); ++n) {
    for (int part = 0; part < 2; ++part) {
      const E* x = qkv + (n * 3 + part) * d;
      const T* w = part == 0 ? wq : wk;
      if (w != nullptr) rstd[n * 2 + part] = Rstd(d, epsilon, x);
      for (int j = 0; j < d; ++j) row[j] = w == nullptr ? static_cast<double>(x[j]) : 1.0 * x[j] * rstd[n * 2 + part] * w[j];
      RopeRow(shape, static_cast<int>(n % shape.length), rope, 1, row.data());
      for (int j = 0; j < d; ++j) qk[(n * 2 + part) * d + j] = static_cast<E>(row[j]);
    }
  }
}

template <typename T, typename E>
void QkBackward(const AttentionShape& shape, const T* rope, const E* qkv, const T* wq, const T* wk, const T* rstd, E* dqkv, T* dwq,
                T* dwk) {
  const int d = shape.width();
  for (int part = 0; part < 2; ++part) {
    const T* w = part == 0 ? wq : wk;
    T* dw = part == 0 ? dwq : dwk;
    std::vector<double> row(d), sums(d);
    for (int64_t n = 0; n < shape.tokens(); ++n) {
      E* gradient = dqkv + (n * 3 + part) * d;
      for (int j = 0; j < d; ++j) row[j] = gradient[j];
      RopeRow(shape, static_cast<int>(n % shape.length), rope, -1, row.data());
      if (w != nullptr) {
        NormRowBackward(d, qkv + (n * 3 + part) * d, w, rstd[n * 2 + part], row.data(), row.data(), sums.data());
      }
      for (int j = 0; j < d; ++j) gradient[j] = static_cast<E>(row[j]);
    }
    if (w == nullptr) continue;
    for (int j = 0; j < d; ++j) dw[j] = static_cast<T>(dw[j] + sums[j]);
  }
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_NORM_H_
