// Short names of enum values, the same in logs, labels and on screens, and which states are the end.
#ifndef POLYMOE_COMMON_SPEC_NAMES_H_
#define POLYMOE_COMMON_SPEC_NAMES_H_

#include <string>

#include "absl/strings/string_view.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job.pb.h"

namespace polymoe {

// The name of an enum's value without its prefix: ("JOB_STATE_PENDING", "JOB_STATE_") -> "pending". "unknown" for no name, which is what a
// value of a newer schema has.
std::string EnumName(absl::string_view name, absl::string_view prefix);

std::string StateName(v1::JobState state);           // "pending", ...
std::string StateName(v1::AblationState state);      // "active", ...
std::string ActivationKindName(const v1::Job& job);  // "polynorm", ...

bool IsFinal(v1::JobState state);
bool IsFinal(v1::AblationState state);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_NAMES_H_
