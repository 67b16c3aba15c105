#include "worker/train/layer_statistics.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <Eigen/Core>

namespace polymoe {
namespace {

constexpr int kParts = 64;  // that rows are cut into, whatever the number of threads

struct Part {
  double sum = 0, squares = 0, zeros = 0, abs_max = 0;
};

template <class E>
Part MomentsOf(const E* values, int64_t count) {
  Part m;
  for (int64_t i = 0; i < count; ++i) {
    const double x = values[i];
    m.sum += x;
    m.squares += x * x;
    m.zeros += x == 0;
    m.abs_max = std::max(m.abs_max, std::abs(x));
  }
  return m;
}

// The cosine of each pair i < j of the states of tokens [begin, end), added up, at j (j - 1) / 2 + i. `states` [layers][tokens, d].
std::vector<double> Cosines(const std::vector<const float*>& states, int64_t begin, int64_t end, int d) {
  const auto layers = static_cast<int>(states.size());
  std::vector<double> sums(layers * (layers - 1) / 2);
  Eigen::MatrixXd rows(d, layers);
  for (int64_t token = begin; token < end; ++token) {
    for (int i = 0; i < layers; ++i) {
      rows.col(i) = Eigen::Map<const Eigen::VectorXf>(states[i] + token * d, d).cast<double>();
      rows.col(i).normalize();  // zeros stay
    }
    double* sum = sums.data();
    for (int j = 1; j < layers; ++j) {
      for (int i = 0; i < j; ++i) *sum++ += rows.col(i).dot(rows.col(j));
    }
  }
  return sums;
}

}  // namespace

LayerStatistics::LayerStatistics(const ModelConfig& config, const What& what, Group& world)
    : config_(config), what_(what), world_(world), sums_(Pair(0, config.layers)) {}

void LayerStatistics::Activation(int layer, int64_t rows, const float* values) {
  AddActivation(layer, rows, values);
}

void LayerStatistics::Activation(int layer, int64_t rows, const BF16* values) {
  AddActivation(layer, rows, values);
}

template <class E>
void LayerStatistics::AddActivation(int layer, int64_t rows, const E* values) {
  if (!what_.moments) return;
  const int64_t f = config_.ffn;
  std::array<Part, kParts> parts;
#pragma omp parallel for
  for (int part = 0; part < kParts; ++part) {
    const int64_t begin = rows * part / kParts, end = rows * (part + 1) / kParts;
    parts[part] = MomentsOf(values + begin * f, (end - begin) * f);
  }
  sums_[Sum(layer, kCount)] += static_cast<double>(rows * f);
  double& abs_max = sums_[AbsMax(layer, world_.rank())];
  for (const Part& part : parts) {
    sums_[Sum(layer, kSum)] += part.sum;
    sums_[Sum(layer, kSquares)] += part.squares;
    sums_[Sum(layer, kZeros)] += part.zeros;
    abs_max = std::max(abs_max, part.abs_max);
  }
}

void LayerStatistics::Hidden(int layer, int tokens, const float* states) {
  if (!what_.cosine) return;
  states_.push_back(states);
  if (layer + 1 < config_.layers) return;
  std::array<std::vector<double>, kParts> parts;
#pragma omp parallel for
  for (int part = 0; part < kParts; ++part) {
    parts[part] = Cosines(states_, int64_t{tokens} * part / kParts, int64_t{tokens} * (part + 1) / kParts, config_.hidden);
  }
  for (const std::vector<double>& part : parts) {
    for (size_t pair = 0; pair < part.size(); ++pair) sums_[Pair(0, 1) + pair] += part[pair];
  }
  sums_[kTokens] += tokens;
  states_.clear();
}

absl::Status LayerStatistics::Reduce() {
  return world_.AllReduceSum(absl::MakeSpan(sums_));
}

ActivationMoments LayerStatistics::Moments(int layer) const {
  const double count = sums_[Sum(layer, kCount)], mean = sums_[Sum(layer, kSum)] / count;
  const auto first = sums_.begin() + static_cast<int64_t>(AbsMax(layer, 0));
  return {.mean = mean,
          .std = std::sqrt(std::max(0.0, sums_[Sum(layer, kSquares)] / count - mean * mean)),
          .abs_max = *std::max_element(first, first + world_.size()),
          .zero_share = sums_[Sum(layer, kZeros)] / count};
}

}  // namespace polymoe
