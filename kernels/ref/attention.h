// Causal softmax attention, one (sequence, head) after the other.
#ifndef POLYMOE_KERNELS_REF_ATTENTION_H_
#define POLYMOE_KERNELS_REF_ATTENTION_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace polymoe::ref {

// Row of position i of head h of sequence s in a [B,T,H*head_dim] tensor.
inline int64_t HeadRow(int s, int i, int h, int t, int heads, int head_dim) {
  return ((int64_t{s} * t + i) * heads + h) * head_dim;
}

template <typename T>
double Dot(int n, const T* a, const T* b) {
  double sum = 0;
  for (int j = 0; j < n; ++j) sum += static_cast<double>(a[j]) * b[j];
  return sum;
}

template <typename T>
void AttentionForward(int b, int t, int heads, int head_dim, const T* q, const T* k, const T* v, T* y, T* lse) {
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  std::vector<double> scores(t);
  for (int s = 0; s < b; ++s) {
    for (int h = 0; h < heads; ++h) {
      for (int i = 0; i < t; ++i) {
        const int64_t row = HeadRow(s, i, h, t, heads, head_dim);
        double peak = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int j = 0; j <= i; ++j) {
          scores[j] = scale * Dot(head_dim, q + row, k + HeadRow(s, j, h, t, heads, head_dim));
          peak = std::fmax(peak, scores[j]);
        }
        for (int j = 0; j <= i; ++j) sum += std::exp(scores[j] - peak);
        const double row_lse = peak + std::log(sum);
        lse[(int64_t{s} * heads + h) * t + i] = static_cast<T>(row_lse);
        for (int c = 0; c < head_dim; ++c) {
          double out = 0;
          for (int j = 0; j <= i; ++j) out += std::exp(scores[j] - row_lse) * v[HeadRow(s, j, h, t, heads, head_dim) + c];
          y[row + c] = static_cast<T>(out);
        }
      }
    }
  }
}

// With p = exp(score - lse):  dv_j += p dy_i,  dscore = p (<dy_i, v_j> - <dy_i, y_i>),  dq_i += scale dscore k_j,  dk_j alike.
template <typename T>
void AttentionBackward(int b, int t, int heads, int head_dim, const T* q, const T* k, const T* v, const T* y, const T* lse,
                       const T* dy, T* dq, T* dk, T* dv) {
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  std::vector<double> gq(int64_t{t} * head_dim), gk(gq.size()), gv(gq.size());
  for (int s = 0; s < b; ++s) {
    for (int h = 0; h < heads; ++h) {
      gq.assign(gq.size(), 0);
      gk.assign(gk.size(), 0);
      gv.assign(gv.size(), 0);
      for (int i = 0; i < t; ++i) {
        const int64_t row = HeadRow(s, i, h, t, heads, head_dim);
        const double delta = Dot(head_dim, dy + row, y + row);
        for (int j = 0; j <= i; ++j) {
          const int64_t other = HeadRow(s, j, h, t, heads, head_dim);
          const double p = std::exp(scale * Dot(head_dim, q + row, k + other) - lse[(int64_t{s} * heads + h) * t + i]);
          const double dscore = scale * p * (Dot(head_dim, dy + row, v + other) - delta);
          for (int c = 0; c < head_dim; ++c) {
            gv[int64_t{j} * head_dim + c] += p * dy[row + c];
            gq[int64_t{i} * head_dim + c] += dscore * k[other + c];
            gk[int64_t{j} * head_dim + c] += dscore * q[row + c];
          }
        }
      }
      for (int i = 0; i < t; ++i) {
        for (int c = 0; c < head_dim; ++c) {
          const int64_t to = HeadRow(s, i, h, t, heads, head_dim) + c, from = int64_t{i} * head_dim + c;
          dq[to] = static_cast<T>(gq[from]);
          dk[to] = static_cast<T>(gk[from]);
          dv[to] = static_cast<T>(gv[from]);
        }
      }
    }
  }
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_ATTENTION_H_
