#include "server/query/stop_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_format.h"

namespace polymoe {
namespace {

// The points of one hundredth.
struct Part {
  uint64_t index = 0, tokens = 0;  // tokens: of the last point
  double sum = 0;
  uint32_t finite = 0;

  double mean() const { return finite == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / finite; }
};

// Those that are over: the run went past them, or to the end of the budget.
std::vector<Part> Hundredths(const std::vector<Point>& loss, uint64_t budget_tokens) {
  std::vector<Part> parts;
  for (const Point& point : loss) {
    const uint64_t index = HundredthOf(point.tokens, budget_tokens);
    if (parts.empty() || parts.back().index != index) parts.push_back({.index = index});
    Part& part = parts.back();
    part.tokens = point.tokens;
    if (!std::isfinite(point.value)) continue;
    part.sum += point.value;
    ++part.finite;
  }
  if (!parts.empty() && parts.back().tokens < budget_tokens) parts.pop_back();
  return parts;
}

}  // namespace

uint64_t HundredthOf(uint64_t tokens, uint64_t budget_tokens) {
  return tokens >= budget_tokens ? 100 : std::max<uint64_t>(1, (tokens * 100 + budget_tokens - 1) / budget_tokens);
}

std::map<uint64_t, double> ValidationMeans(const std::vector<std::vector<Point>>& sets) {
  std::map<uint64_t, std::pair<size_t, double>> sums;  // by tokens: how many sets, and their sum
  for (const std::vector<Point>& set : sets) {
    std::map<uint64_t, double> values;  // at equal tokens the last one counts
    for (const Point& point : set) values[point.tokens] = point.value;
    for (const auto& [tokens, value] : values) {
      ++sums[tokens].first;
      sums[tokens].second += value;
    }
  }
  std::map<uint64_t, double> means;
  for (const auto& [tokens, sum] : sums) {
    if (sum.first == sets.size()) means[tokens] = sum.second / static_cast<double>(sets.size());
  }
  return means;
}

std::optional<std::string> FindHopeless(const std::map<uint64_t, double>& run, const std::map<uint64_t, double>& baseline,
                                        double nats, uint64_t after_tokens) {
  for (auto it = run.lower_bound(after_tokens); it != run.end(); ++it) {
    const auto other = baseline.find(it->first);
    if (other == baseline.end() || !std::isfinite(other->second) || it->second - other->second <= nats) continue;
    if (!std::isfinite(it->second)) return absl::StrFormat("its validation loss at %d tokens is not a number", it->first);
    return absl::StrFormat("its validation loss at %d tokens, %.4f, is %.4f above the baseline's (hopelessNats: %g)", it->first,
                           it->second, it->second - other->second, nats);
  }
  return std::nullopt;
}

std::optional<std::string> FindDiverged(const std::vector<Point>& loss, double nats, uint64_t budget_tokens) {
  double lowest = std::numeric_limits<double>::infinity();
  for (const Part& part : Hundredths(loss, budget_tokens)) {
    const double mean = part.mean();
    if (!std::isfinite(mean)) return absl::StrFormat("its training loss up to %d tokens is not a number", part.tokens);
    if (mean - lowest > nats) {
      return absl::StrFormat("its training loss up to %d tokens, %.4f, is %.4f above its lowest (divergedNats: %g)", part.tokens,
                             mean, mean - lowest, nats);
    }
    lowest = std::min(lowest, mean);
  }
  return std::nullopt;
}

}  // namespace polymoe
