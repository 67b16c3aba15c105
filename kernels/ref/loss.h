// Softmax cross entropy, and the optimiser's arithmetic. T is float or double, E double, float or BF16.
#ifndef POLYMOE_KERNELS_REF_LOSS_H_
#define POLYMOE_KERNELS_REF_LOSS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/ops.h"

namespace polymoe::ref {

template <typename T, typename E>
void CrossEntropy(int n, int v, const T* logits, const int32_t* targets, T scale, T* losses, E* dlogits) {
  for (int64_t i = 0; i < n; ++i) {
    const T* row = logits + i * v;
    const double peak = *std::max_element(row, row + v);
    double sum = 0;
    for (int j = 0; j < v; ++j) sum += std::exp(row[j] - peak);
    const double lse = peak + std::log(sum);
    losses[i] = static_cast<T>(lse - row[targets[i]]);
    if (dlogits == nullptr) continue;
    for (int j = 0; j < v; ++j) {
      const double softmax = std::exp(row[j] - lse);
      dlogits[i * v + j] = static_cast<E>((softmax - (j == targets[i] ? 1 : 0)) * scale);
    }
  }
}

template <typename T>
void Round(int64_t n, const T* x, BF16* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = BF16(x[i]);
}

template <typename T>
double SumSquares(int64_t n, const T* x) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

template <typename T>
void AdamW(int64_t n, const AdamWParams& a, const T* grad, T* p, T* m, T* v, BF16* rounded) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = static_cast<double>(grad[i]) * a.grad_scale;
    m[i] = static_cast<T>(a.beta1 * m[i] + (1.0 - a.beta1) * g);
    v[i] = static_cast<T>(a.beta2 * v[i] + (1.0 - a.beta2) * g * g);
    const double m_hat = m[i] / a.bias_correction1, v_hat = v[i] / a.bias_correction2;
    const double decayed = p[i] - static_cast<double>(a.learning_rate) * a.weight_decay * p[i];
    p[i] = static_cast<T>(decayed - a.learning_rate * m_hat / (std::sqrt(v_hat) + a.epsilon));
    if (rounded != nullptr) rounded[i] = BF16(p[i]);
  }
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_LOSS_H_
