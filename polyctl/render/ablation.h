// Ablations as tables, as a page and as a live screen.
#ifndef POLYMOE_POLYCTL_RENDER_ABLATION_H_
#define POLYMOE_POLYCTL_RENDER_ABLATION_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/metric.pb.h"

#include "polyctl/render/table.h"

namespace polymoe::polyctl {

std::optional<v1::AblationState> ParseAblationState(absl::string_view name);
Style StateStyle(v1::AblationState state);

// The jobs of an ablation by id.
using JobsById = std::map<std::string, v1::Job>;

// `polyctl ablation submit --dry-run`: an arm a row.
struct DryArm {
  std::string name;
  v1::JobSpec spec;
};
// What differs from the baseline, width, parameters, FLOPs, runs; then what all of it costs.
std::string DryRunPage(const v1::AblationFile& file, const std::vector<DryArm>& arms, const TableOptions& options);

// `polyctl ablation ls`: one row an ablation, in the order given.
Table AblationsTable(const std::vector<v1::Ablation>& ablations, absl::Time now);

// `polyctl ablation get`: what it is, then arms x seeds with the state of each run, then why runs wait or were stopped.
std::string AblationPage(const v1::Ablation& ablation, const JobsById& jobs, absl::Time now, const TableOptions& options);

// `polyctl ablation watch`: progress, and an arm a row with a sign for each seed, the mean of the main metric and the difference to the
// baseline. `height`: lines that there are; 0: no limit.
std::string AblationScreen(const v1::Ablation& ablation, const JobsById& jobs, const v1::AblationComparison& comparison, int height,
                           const TableOptions& options);

// `polyctl ablation watch` elsewhere: one line without newline.
std::string AblationLine(const v1::Ablation& ablation);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_ABLATION_H_
