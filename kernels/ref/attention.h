// Causal softmax attention, one (sequence, head) after the other. T is float or double, E double, float or BF16.
#ifndef POLYMOE_KERNELS_REF_ATTENTION_H_
#define POLYMOE_KERNELS_REF_ATTENTION_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/ops.h"

namespace polymoe::ref {

template <typename E>
double Dot(int n, const E* a, const E* b) {
  double sum = 0;
  for (int j = 0; j < n; ++j) sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
  return sum;
}

// One head of one sequence: where the row of position i begins in a tensor whose rows are `parts` times as wide as the heads, in its
// given part.
struct HeadRows {
  const AttentionShape& shape;
  int sequence, head;

  int64_t at(int i, int parts, int part) const {
    return ((int64_t{sequence} * shape.length + i) * parts + part) * shape.width() + int64_t{head} * shape.head_dim;
  }
  int64_t q(int i) const { return at(i, 2, 0); }
  int64_t k(int i) const { return at(i, 2, 1); }
  int64_t v(int i) const { return at(i, 3, 2); }
  int64_t y(int i) const { return at(i, 1, 0); }
  int64_t lse(int i) const { return (int64_t{sequence} * shape.heads + head) * shape.length + i; }
};

template <class F>
void ForHeads(const AttentionShape& shape, const F& f) {
  for (int s = 0; s < shape.sequences; ++s) {
    for (int h = 0; h < shape.heads; ++h) f(HeadRows{shape, s, h});
  }
}

template <typename T, typename E>
void AttentionForward(const AttentionShape& shape, const E* qk, const E* qkv, E* y, T* lse) {
  const double scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  std::vector<double> scores(shape.length);
  ForHeads(shape, [&](const HeadRows& rows) {
    for (int i = 0; i < shape.length; ++i) {
      double peak = -std::numeric_limits<double>::infinity(), sum = 0;
      for (int j = 0; j <= i; ++j) {
        scores[j] = scale * Dot(shape.head_dim, qk + rows.q(i), qk + rows.k(j));
        peak = std::fmax(peak, scores[j]);
      }
      for (int j = 0; j <= i; ++j) sum += std::exp(scores[j] - peak);
      const double row_lse = peak + std::log(sum);
      lse[rows.lse(i)] = static_cast<T>(row_lse);
      for (int c = 0; c < shape.head_dim; ++c) {
        double out = 0;
        for (int j = 0; j <= i; ++j) out += std::exp(scores[j] - row_lse) * qkv[rows.v(j) + c];
        y[rows.y(i) + c] = static_cast<E>(out);
      }
    }
  });
}

// With p = exp(score - lse):  dv_j += p dy_i,  dscore = p (<dy_i, v_j> - <dy_i, y_i>),  dq_i += scale dscore k_j,  dk_j alike.
template <typename T, typename E>
void AttentionBackward(const AttentionShape& shape, const E* qk, const E* qkv, const E* y, const T* lse, const E* dy, E* dqkv) {
  const int width = shape.head_dim;
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  std::vector<double> gradients[3];  // of the head's q, k and v
  ForHeads(shape, [&](const HeadRows& rows) {
    for (auto& gradient : gradients) gradient.assign(int64_t{shape.length} * width, 0);
    for (int i = 0; i < shape.length; ++i) {
      const E* dyi = dy + rows.y(i);
      const double delta = Dot(width, dyi, y + rows.y(i));
      for (int j = 0; j <= i; ++j) {
        const double p = std::exp(scale * Dot(width, qk + rows.q(i), qk + rows.k(j)) - lse[rows.lse(i)]);
        const double dscore = scale * p * (Dot(width, dyi, qkv + rows.v(j)) - delta);
        for (int c = 0; c < width; ++c) {
          gradients[0][int64_t{i} * width + c] += dscore * qk[rows.k(j) + c];
          gradients[1][int64_t{j} * width + c] += dscore * qk[rows.q(i) + c];
          gradients[2][int64_t{j} * width + c] += p * dyi[c];
        }
      }
    }
    for (int part = 0; part < 3; ++part) {
      for (int i = 0; i < shape.length; ++i) {
        for (int c = 0; c < width; ++c) dqkv[rows.at(i, 3, part) + c] = static_cast<E>(gradients[part][int64_t{i} * width + c]);
      }
    }
  });
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_ATTENTION_H_
