// How far fp32 may be from the reference, which sums in double and rounds once.
#ifndef POLYMOE_TESTS_KERNELS_ERROR_BOUNDS_H_
#define POLYMOE_TESTS_KERNELS_ERROR_BOUNDS_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ops.h"
#include "kernels/ref/activation.h"

namespace polymoe {

// fp32 sums of n terms err by about sqrt(n) 6e-8 of the sum of the terms' magnitudes, bounded here by 4e-7 sqrt(n) times the largest
// result, plus a few roundings of the result itself.
inline double Tolerance(double largest, int terms) {
  return std::max(1e-3, largest) * (4e-7 * std::sqrt(static_cast<double>(terms)) + 1e-6);
}

// Largest magnitudes of the terms that a backward row adds up before they cancel: what its roundings are relative to. On short rows
// near zero, 1/rms makes them much larger than their sum.
struct RowTerms {
  double dx = 0;       // of an element of dx
  double dweight = 0;  // of <y, dy>
};

template <typename T, typename E>
RowTerms LargestTerms(const Activation& a, RowGroups groups, int f, const E* x, const T* c, int stride, const E* dy) {
  RowTerms largest;
  if (!a.has_coefficients()) {
    std::vector<double> y(f);
    for (int64_t r = 0; r < groups.rows(); ++r) {
      ref::ActivationRow(a, f, x + r * (a.gated() ? 2 * f : f), c, y.data());
      double dweight = 0;
      for (int j = 0; j < f; ++j) dweight += std::abs(y[j] * dy[r * f + j]);
      largest.dweight = std::max(largest.dweight, dweight);
    }
    return largest;
  }
  for (int g = 0; g < groups.count; ++g) {
    for (int64_t r = groups.offsets[g]; r < groups.offsets[g + 1]; ++r) {
      const ref::PolyRow<T> row(a, f, x + r * f, c + g * stride);
      double sums[5] = {}, dweight = 0;
      for (int j = 0; j < f; ++j) {
        for (int p = 0; p <= a.order; ++p) sums[p] += std::abs(dy[r * f + j] * std::pow(row.base(x[r * f + j]), p));
      }
      for (int p = 0; p <= a.order; ++p) dweight += sums[p] * std::abs(p == 0 ? row.bias() : row.scale[p]);
      largest.dweight = std::max(largest.dweight, dweight);
      for (int j = 0; j < f; ++j) {
        const double u = std::abs(row.base(x[r * f + j]));
        double term = 0;
        for (int p = 1; p <= a.order; ++p) {
          term += std::abs(row.scale[p]) * p *
                  (std::pow(u, p - 1) * std::abs(dy[r * f + j]) + std::pow(u, 2 * p - 1) / f * row.rstd[p] * row.rstd[p] * sums[p]);
        }
        largest.dx = std::max(largest.dx, term);
      }
    }
  }
  return largest;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_KERNELS_ERROR_BOUNDS_H_
