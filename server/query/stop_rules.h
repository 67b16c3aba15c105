// When a run of an ablation is not worth its tokens. Pure: what is decided depends on the points alone. Points that come later, of any
// run, never take a decision back, nor bring an earlier one: of a run and its baseline counts what both have.
#ifndef POLYMOE_SERVER_QUERY_STOP_RULES_H_
#define POLYMOE_SERVER_QUERY_STOP_RULES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/query/series.h"

namespace polymoe {

// Points that count, ascending, one series a validation set -> the mean over the sets, by tokens, where every set has a value.
std::map<uint64_t, double> ValidationMeans(const std::vector<std::vector<Point>>& sets);

// At the first tokens from `after_tokens` on where both have a mean, and the run's is more than `nats` above the baseline's (or is not a
// number): why the run should end, in one sentence.
std::optional<std::string> FindHopeless(const std::map<uint64_t, double>& run, const std::map<uint64_t, double>& baseline,
                                        double nats, uint64_t after_tokens);

// The training loss in hundredths of `budget_tokens`, each the mean of its finite values, once the run is past it: the first that is
// more than `nats` above the lowest before it, or has no finite value though steps were trained (single ones may be skipped).
std::optional<std::string> FindDiverged(const std::vector<Point>& loss, double nats, uint64_t budget_tokens);

// Which hundredth of the budget, from 1, tokens belong to; what is past the budget belongs to the last.
uint64_t HundredthOf(uint64_t tokens, uint64_t budget_tokens);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_QUERY_STOP_RULES_H_
