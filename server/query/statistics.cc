#include "server/query/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <boost/math/distributions/students_t.hpp>

namespace polymoe {
namespace {

// Half of a 95% confidence interval, in standard errors. Kept: to invert the distribution takes longer than everything else here, and a
// comparison asks for few degrees of freedom, thousands of times.
double HalfWidth(uint32_t degrees) {
  thread_local std::map<uint32_t, double> known;
  const auto [it, added] = known.try_emplace(degrees);
  if (added) it->second = boost::math::quantile(boost::math::complement(boost::math::students_t(degrees), 0.025));
  return it->second;
}

}  // namespace

Sample Summarise(const std::vector<double>& values) {
  Sample sample{.n = static_cast<uint32_t>(values.size())};
  if (values.empty()) return sample;
  const auto n = static_cast<double>(values.size());
  sample.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - sample.mean) * (value - sample.mean);
  if (values.size() > 1) sample.sd = std::sqrt(squares / (n - 1));
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  sample.min = *min;
  sample.max = *max;
  return sample;
}

PairedDifference ComparePairs(const BySeed& arm, const BySeed& baseline) {
  std::vector<double> differences;
  for (const auto& [seed, value] : arm) {
    if (const auto it = baseline.find(seed); it != baseline.end()) differences.push_back(value - it->second);
  }
  const Sample sample = Summarise(differences);
  PairedDifference result{.pairs = sample.n, .mean = sample.mean};
  if (sample.n < 2) return result;
  const boost::math::students_t student(sample.n - 1);
  const double error = sample.sd / std::sqrt(static_cast<double>(sample.n));
  const double reach = error * HalfWidth(sample.n - 1);
  result.low = sample.mean - reach;
  result.high = sample.mean + reach;
  if (sample.mean == 0) return result;
  result.p_value = error == 0 ? 0 : 2 * boost::math::cdf(boost::math::complement(student, std::abs(sample.mean) / error));
  return result;
}

std::vector<double> HolmAdjust(const std::vector<double>& p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double largest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, std::min(1.0, p_values[order[i]] * static_cast<double>(order.size() - i)));
    adjusted[order[i]] = largest;
  }
  return adjusted;
}

std::optional<double> TokensToReach(const std::vector<uint64_t>& milestones, const std::vector<double>& curve, double loss) {
  std::optional<size_t> before;
  for (size_t i = 0; i < milestones.size(); ++i) {
    if (std::isnan(curve[i])) continue;
    if (curve[i] <= loss) {
      const auto here = static_cast<double>(milestones[i]);
      if (!before) return here;
      const auto there = static_cast<double>(milestones[*before]);
      return there + (here - there) * (curve[*before] - loss) / (curve[*before] - curve[i]);
    }
    before = i;
  }
  return std::nullopt;
}

}  // namespace polymoe
