// FFN activations, row by row, straight from their definitions (arXiv 2411.03884 for the PolyCom ones; kernels/ops.h says the layout).
// T is float or double, E double, float or BF16.
#ifndef POLYMOE_KERNELS_REF_ACTIVATION_H_
#define POLYMOE_KERNELS_REF_ACTIVATION_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace polymoe::ref {

inline constexpr double kInverseSqrt2 = 0.70710678118654752440;
inline constexpr double kInverseSqrt2Pi = 0.39894228040143267794;

inline double Sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

// Value and derivative of the activations that look at one element.
inline double Pointwise(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kRelu:
      return x > 0 ? x : x * 0;  // x * 0 keeps a NaN
    case ActivationKind::kRelu2:
      return x > 0 ? x * x : x * 0;
    default:
      return 0.5 * x * (1 + std::erf(x * kInverseSqrt2));  // kGelu
  }
}

inline double PointwiseDerivative(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kRelu:
      return x > 0 ? 1 : x * 0;
    case ActivationKind::kRelu2:
      return x > 0 ? 2 * x : x * 0;
    default:
      return 0.5 * (1 + std::erf(x * kInverseSqrt2)) + x * kInverseSqrt2Pi * std::exp(-0.5 * x * x);
  }
}

// One row of a PolyCom activation as a polynomial of u = base(x): y = bias + sum_p scale_p u^p, where scale_p = w_p or, with a norm,
// w_p * rstd_p.
template <typename T>
struct PolyRow {
  const Activation& activation;
  const T* c;
  double scale[5] = {}, rstd[5] = {1, 1, 1, 1, 1};  // by power

  bool normed() const { return activation.kind == ActivationKind::kPolyNorm || activation.kind == ActivationKind::kPolyReluNorm; }
  double weight(int p) const { return c[activation.order - p]; }
  double bias() const { return c[activation.order]; }
  double slope() const { return c[activation.order + 1]; }

  double base(double x) const {
    switch (activation.kind) {
      case ActivationKind::kPolyNorm:
        return x;
      case ActivationKind::kPolyPRelu:
        return x > 0 ? x : slope() * x;
      default:
        return x > 0 ? x : x * 0;
    }
  }
  double base_derivative(double x) const {
    switch (activation.kind) {
      case ActivationKind::kPolyNorm:
        return 1;
      case ActivationKind::kPolyPRelu:
        return x > 0 ? 1 : slope();
      default:
        return x > 0 ? 1 : x * 0;
    }
  }

  template <typename E>
  PolyRow(const Activation& a, int f, const E* x, const T* coefficients) : activation(a), c(coefficients) {
    for (int p = 1; p <= a.order; ++p) {
      if (normed()) {
        double sum = 0;
        for (int j = 0; j < f; ++j) sum += std::pow(base(x[j]), 2 * p);
        rstd[p] = 1 / std::sqrt(sum / f + a.epsilon);
      }
      scale[p] = weight(p) * rstd[p];
    }
  }
};

template <typename T, typename E>
void ActivationRow(const Activation& a, int f, const E* x, const T* c, double* y) {
  if (a.gated()) {
    for (int j = 0; j < f; ++j) y[j] = x[j] * Sigmoid(x[j]) * x[f + j];
  } else if (!a.has_coefficients()) {
    for (int j = 0; j < f; ++j) y[j] = Pointwise(a.kind, x[j]);
  } else {
    const PolyRow<T> row(a, f, x, c);
    for (int j = 0; j < f; ++j) {
      y[j] = row.bias();
      for (int p = 1; p <= a.order; ++p) y[j] += row.scale[p] * std::pow(row.base(x[j]), p);
    }
  }
}

// With S_p = sum_j dy_j u_j^p:
//   du_j = sum_p scale_p (p u_j^(p-1) dy_j - [normed] (p / f) u_j^(2p-1) rstd_p^2 S_p),  dx = du * base'(x)
//   dw_p = rstd_p S_p,  dbias = sum dy,  dslope = sum over x <= 0 of du * x
template <typename T, typename E>
void PolyRowBackward(const Activation& a, int f, const E* x, const T* c, const double* dy, E* dx, T* dc) {
  const PolyRow<T> row(a, f, x, c);
  double s[5] = {}, bias = 0, slope = 0;
  for (int j = 0; j < f; ++j) {
    for (int p = 1; p <= a.order; ++p) s[p] += dy[j] * std::pow(row.base(x[j]), p);
    bias += dy[j];
  }
  for (int j = 0; j < f; ++j) {
    const double u = row.base(x[j]);
    double du = 0;
    for (int p = 1; p <= a.order; ++p) {
      du += row.scale[p] * p * std::pow(u, p - 1) * dy[j];
      if (row.normed()) du -= row.scale[p] * p / f * std::pow(u, 2 * p - 1) * row.rstd[p] * row.rstd[p] * s[p];
    }
    if (!(x[j] > 0)) slope += du * x[j];
    dx[j] = static_cast<E>(du * row.base_derivative(x[j]));
  }
  for (int p = 1; p <= a.order; ++p) dc[a.order - p] += static_cast<T>(row.rstd[p] * s[p]);
  dc[a.order] += static_cast<T>(bias);
  if (a.kind == ActivationKind::kPolyPRelu) dc[a.order + 1] += static_cast<T>(slope);
}

template <typename T, typename E>
void ActivationRowBackward(const Activation& a, int f, const E* x, const T* c, const double* dy, E* dx, T* dc) {
  if (a.gated()) {
    for (int j = 0; j < f; ++j) {
      const double gate = x[j], up = x[f + j], sigmoid = Sigmoid(gate);
      dx[j] = static_cast<E>(dy[j] * up * sigmoid * (1 + gate * (1 - sigmoid)));
      dx[f + j] = static_cast<E>(dy[j] * gate * sigmoid);
    }
  } else if (!a.has_coefficients()) {
    for (int j = 0; j < f; ++j) dx[j] = static_cast<E>(dy[j] * PointwiseDerivative(a.kind, x[j]));
  } else {
    PolyRowBackward(a, f, x, c, dy, dx, dc);
  }
}

inline double RowWeight(RowWeights weights, int64_t r) {
  return weights.weights == nullptr ? 1 : weights.weights[weights.source[r]];
}

template <typename T, typename E>
void ActivationForward(const Activation& a, RowGroups groups, int f, const E* x, const T* c, int stride, RowWeights weights, E* y) {
  const int64_t width = a.gated() ? 2 * f : f;
  std::vector<double> row(f);
  for (int g = 0; g < groups.count; ++g) {
    for (int64_t r = groups.offsets[g]; r < groups.offsets[g + 1]; ++r) {
      ActivationRow(a, f, x + r * width, c + int64_t{g} * stride, row.data());
      for (int j = 0; j < f; ++j) y[r * f + j] = static_cast<E>(RowWeight(weights, r) * row[j]);
    }
  }
}

template <typename T, typename E>
void ActivationBackward(const Activation& a, RowGroups groups, int f, const E* x, const T* c, int stride, RowWeights weights,
                        const E* dy, E* dx, T* dweights, T* dc) {
  const int64_t width = a.gated() ? 2 * f : f;
  std::vector<double> unweighted(f), weighted(f);
  for (int g = 0; g < groups.count; ++g) {
    const T* set = c + int64_t{g} * stride;
    for (int64_t r = groups.offsets[g]; r < groups.offsets[g + 1]; ++r) {
      ActivationRow(a, f, x + r * width, set, unweighted.data());
      double dweight = 0;
      for (int j = 0; j < f; ++j) {
        dweight += unweighted[j] * dy[r * f + j];
        weighted[j] = RowWeight(weights, r) * dy[r * f + j];
      }
      if (weights.weights != nullptr) dweights[weights.source[r]] = static_cast<T>(dweight);
      ActivationRowBackward(a, f, x + r * width, set, weighted.data(), dx + r * width, dc + int64_t{g} * stride);
    }
  }
}

}  // namespace polymoe::ref

#endif  // POLYMOE_KERNELS_REF_ACTIVATION_H_
