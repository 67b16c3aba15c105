// `polyctl compare`: which of the jobs converged best, at equal tokens.
#ifndef POLYMOE_POLYCTL_RENDER_COMPARISON_H_
#define POLYMOE_POLYCTL_RENDER_COMPARISON_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "polyctl/render/table.h"

namespace polymoe::polyctl {

struct ComparedJob {
  std::string id;
  std::string activation;
  uint64_t parameters = 0;
  double tokens_per_second = 0;
};

// One metric of all jobs: values[job][milestone]; nothing where the job has no point there.
struct ComparedMetric {
  std::string name;
  std::vector<std::vector<std::optional<double>>> values;
};

struct Comparison {
  std::vector<ComparedJob> jobs;
  std::vector<uint64_t> tokens;  // milestones
  std::vector<ComparedMetric> metrics;
};

struct RankedJob {
  size_t job = 0;     // index into Comparison.jobs
  double loss = 0;    // mean over the ranking's metrics at its milestone
  double behind = 0;  // loss minus the best one's
};

// Best (lowest mean loss) first. Not-a-number counts as worst.
struct Ranking {
  std::vector<RankedJob> order;
  std::vector<std::string> metrics;  // all val_loss/* of the comparison, or all metrics when there is none
  uint64_t tokens = 0;
};

// At the last milestone where every job has every metric of the ranking; nothing when there is none.
std::optional<Ranking> Rank(const Comparison& comparison);

// A section a metric, then the ranking. The best value of each column is bold with colour and followed by '*' without.
std::string RenderComparison(const Comparison& comparison, const TableOptions& options);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_COMPARISON_H_
