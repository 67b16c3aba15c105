// What can be said about a difference between arms that were run with the same seeds. Pure.
//
// Student's t on paired differences (same seed, same data order in both arms); Holm's step-down adjustment over the arms of a metric
// (Holm 1979), since the more arms are tried, the sooner one looks better by luck. The t distribution is Boost.Math's.
#ifndef POLYMOE_SERVER_QUERY_STATISTICS_H_
#define POLYMOE_SERVER_QUERY_STATISTICS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace polymoe {

struct Sample {
  uint32_t n = 0;
  double mean = 0, sd = 0, min = 0, max = 0;  // sd of n - 1; 0 when n < 2
};
Sample Summarise(const std::vector<double>& values);

// By seed.
using BySeed = std::map<uint64_t, double>;

struct PairedDifference {
  uint32_t pairs = 0;
  double mean = 0;           // of (arm - baseline)
  double low = 0, high = 0;  // 95% confidence interval; both 0 when pairs < 2
  double p_value = 1;        // two-sided; 1 when pairs < 2. Differences that are all equal and not 0 give 0
};
PairedDifference ComparePairs(const BySeed& arm, const BySeed& baseline);

// Adjusted p-values in the order given, each at least its own and at most 1.
std::vector<double> HolmAdjust(const std::vector<double>& p_values);

// Tokens at which the curve first comes down to `loss`, between milestones interpolated linearly; NaN values are skipped. Nothing if it
// never does.
std::optional<double> TokensToReach(const std::vector<uint64_t>& milestones, const std::vector<double>& curve, double loss);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_QUERY_STATISTICS_H_
