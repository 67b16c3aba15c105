// RMSNorm (Zhang & Sennrich 2019, as in LLaMA and OLMoE) and rotary position embedding (Su et al. 2021, half rotation).
#ifndef POLYMOE_KERNELS_REF_NORM_H_
#define POLYMOE_KERNELS_REF_NORM_H_

#include <cmath>
#include <cstdint>

namespace polymoe::ref {

template <typename T>
void RmsNormForward(int rows, int d, T epsilon, const T* x, const T* w, T* y, T* rstd) {
  for (int r = 0; r < rows; ++r) {
    const T* row = x + int64_t{r} * d;
    double sum = 0;
    for (int j = 0; j < d; ++j) sum += static_cast<double>(row[j]) * row[j];
    rstd[r] = static_cast<T>(1 / std::sqrt(sum / d + epsilon));
    for (int j = 0; j < d; ++j) y[int64_t{r} * d + j] = row[j] * rstd[r] * w[j];
  }
}

// With s = rstd and g = dy * w:  dx = s * g - x * s^3 / d * <g, x>,  dw = sum over rows of dy * x * s.
template <typename T>
void RmsNormBackward(int rows, int d, const T* x, const T* w, const T* rstd, const T* dy, T* dx, bool accumulate, T* dw) {
  for (int r = 0; r < rows; ++r) {
    const T *xr = x + int64_t{r} * d, *dyr = dy + int64_t{r} * d;
    T* dxr = dx + int64_t{r} * d;
    const double s = rstd[r];
    double dot = 0;
    for (int j = 0; j < d; ++j) dot += static_cast<double>(dyr[j]) * w[j] * xr[j];
    for (int j = 0; j < d; ++j) {
      const double gradient = s * dyr[j] * w[j] - xr[j] * s * s * s / d * dot;
      dw[j] += static_cast<T>(dyr[j] * xr[j] * s);
      dxr[j] = static_cast<T>(accumulate ? dxr[j] + gradient : gradient);
    }
  }
}

template <typename T>
void Rope(int b, int t, int heads, int head_dim, T theta, bool inverse, T* x) {
  const int half = head_dim / 2;
  for (int64_t row = 0; row < int64_t{b} * t; ++row) {
    const double position = static_cast<double>(row % t);
    for (int h = 0; h < heads; ++h) {
      T* head = x + (row * heads + h) * head_dim;
      for (int j = 0; j < half; ++j) {
        const double angle = position * std::pow(static_cast<double>(theta), -2.0 * j / head_dim);
        const double c = std::cos(angle), s = inverse ? -std::sin(angle) : std::sin(angle);
        const double first = head[j], second = head[j + half];
        head[j] = static_cast<T>(first * c - second * s);
        head[j + half] = static_cast<T>(second * c + first * s);
      }
    }
  }
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_NORM_H_
