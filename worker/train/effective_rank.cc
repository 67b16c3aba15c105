#include "worker/train/effective_rank.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <Eigen/Eigenvalues>

namespace polymoe {
namespace {

constexpr int64_t kPanel = 128;  // rows or columns that are doubles at one time

// The lower triangle of m m^T or m^T m, whichever is smaller.
template <class E>
Eigen::MatrixXd Gram(const E* m, int64_t rows, int64_t cols) {
  const bool wide = cols > rows;
  const int64_t n = wide ? rows : cols, depth = wide ? cols : rows;
  Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(n, n), panel(n, kPanel);
  for (int64_t begin = 0; begin < depth; begin += kPanel) {
    const int64_t width = std::min(kPanel, depth - begin);
    for (int64_t j = 0; j < width; ++j) {
      const E* first = wide ? m + begin + j : m + (begin + j) * cols;
      const int64_t stride = wide ? cols : 1;
      for (int64_t i = 0; i < n; ++i) panel(i, j) = first[i * stride];
    }
    gram.selfadjointView<Eigen::Lower>().rankUpdate(panel.leftCols(width));
  }
  return gram;
}

template <class E>
double RankOf(const E* m, int64_t rows, int64_t cols) {
  const Eigen::MatrixXd gram = Gram(m, rows, cols);
  const double trace = gram.trace();
  if (!std::isfinite(trace)) return std::numeric_limits<double>::quiet_NaN();
  if (trace == 0) return 0;
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram, Eigen::EigenvaluesOnly);
  if (solver.info() != Eigen::Success) return std::numeric_limits<double>::quiet_NaN();
  const Eigen::VectorXd& squares = solver.eigenvalues();
  const double least = std::numeric_limits<double>::epsilon() * static_cast<double>(squares.size()) * squares.maxCoeff();
  double sum = 0, weighted = 0;  // of s, of s log s
  for (const double square : squares) {
    if (square <= least) continue;
    const double s = std::sqrt(square);
    sum += s;
    weighted += s * std::log(s);
  }
  // -sum p log p with p = s / sum
  return std::exp(std::log(sum) - weighted / sum);
}

}  // namespace

double EffectiveRank(const float* matrix, int64_t rows, int64_t cols) {
  return RankOf(matrix, rows, cols);
}

double EffectiveRank(const BF16* matrix, int64_t rows, int64_t cols) {
  return RankOf(matrix, rows, cols);
}

}  // namespace polymoe
