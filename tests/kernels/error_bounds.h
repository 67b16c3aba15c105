// How far fp32 may be from the reference, which sums in double and rounds once.
#ifndef POLYMOE_TESTS_KERNELS_ERROR_BOUNDS_H_
#define POLYMOE_TESTS_KERNELS_ERROR_BOUNDS_H_

#include <algorithm>
#include <cmath>

#include "kernels/ops.h"
#include "kernels/ref/activation.h"

namespace polymoe {

// fp32 sums of n terms err by about sqrt(n) 6e-8 of the sum of the terms' magnitudes, bounded here by 4e-7 sqrt(n) times the largest
// result, plus a few roundings of the result itself.
inline double Tolerance(double largest, int terms) {
  return std::max(1e-3, largest) * (4e-7 * std::sqrt(static_cast<double>(terms)) + 1e-6);
}

// Largest magnitude of the terms that a backward row adds up before they cancel: what its roundings are relative to. On short rows near
// zero, 1/rms makes them much larger than their sum.
template <typename T>
double LargestTerm(const Activation& a, RowGroups groups, int f, const T* x, const T* c, int stride, const T* dy) {
  double largest = 0;
  if (!a.has_coefficients()) return largest;
  for (int g = 0; g < groups.count; ++g) {
    for (int r = groups.offsets[g]; r < groups.offsets[g + 1]; ++r) {
      const ref::PolyRow<T> row(a, f, x + r * f, c + g * stride);
      double sums[5] = {};
      for (int j = 0; j < f; ++j) {
        for (int p = 1; p <= a.order; ++p) sums[p] += std::abs(dy[r * f + j] * std::pow(row.base(x[r * f + j]), p));
      }
      for (int j = 0; j < f; ++j) {
        const double u = std::abs(row.base(x[r * f + j]));
        double term = 0;
        for (int p = 1; p <= a.order; ++p) {
          term += std::abs(row.scale[p]) * p *
                  (std::pow(u, p - 1) * std::abs(dy[r * f + j]) + std::pow(u, 2 * p - 1) / f * row.rstd[p] * row.rstd[p] * sums[p]);
        }
        largest = std::max(largest, term);
      }
    }
  }
  return largest;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_KERNELS_ERROR_BOUNDS_H_
