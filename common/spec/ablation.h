// Ablation files: read, checked, and taken apart into the jobs of their runs. For polyctl (with a file's text) and for the coordinator
// (with a message that came over the wire).
#ifndef POLYMOE_COMMON_SPEC_ABLATION_H_
#define POLYMOE_COMMON_SPEC_ABLATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "polymoe/v1/ablation.pb.h"

#include "common/spec/source_map.h"

namespace polymoe {

inline constexpr size_t kMostRuns = 1000;  // of one ablation

// Text of a YAML file -> a complete, valid ablation file. Errors as yaml_read.h gives them.
absl::StatusOr<v1::AblationFile> ParseAblationFile(const std::string& text, const std::string& file);

// Fills in the defaults, then checks every rule, those of each run's job included: INVALID_ARGUMENT says path, value, arm and what would
// be right. A complete file stays as it is. In it spec.base has the tokens of the budget and no seed. A budget without tokens gets those
// of spec.base.train, so that the spec of any job file that names no seed serves as a base.
absl::Status CompleteAblationFile(v1::AblationFile* file, const SourceMap& places = {});

// An arm as it runs: one of the file, at one point of the grid of its axes.
struct PlannedArm {
  std::string name;  // of the arm, then AXIS-VALUE of each axis: "polynorm-order-2", "order-2"
  v1::JobSpec spec;  // complete; its seed is the first one
};

// Of a file with defaults, arms in the order of the file, the last axis fastest. The arms' specs are valid and their names unique.
absl::StatusOr<std::vector<PlannedArm>> PlanArms(const v1::AblationFile& file, const SourceMap& places = {});

struct PlannedRun {
  std::string arm;
  uint64_t seed = 0;
  v1::JobFile job;  // complete; named ABLATION-ARM-sSEED, with the ablation's labels and ablation=, arm=, seed=
};

// The validation sets whose mean loss decides: those of spec.compare, else all of the base.
std::vector<std::string> DecidingSets(const v1::AblationSpec& spec);

// Seed by seed, in each seed the arms in their order.
absl::StatusOr<std::vector<PlannedRun>> PlanRuns(const v1::AblationFile& file, const SourceMap& places = {});

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_ABLATION_H_
