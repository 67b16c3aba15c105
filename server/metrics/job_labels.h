// Label values that families of several files share.
#ifndef POLYMOE_SERVER_METRICS_JOB_LABELS_H_
#define POLYMOE_SERVER_METRICS_JOB_LABELS_H_

#include <string>

#include "absl/strings/string_view.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job.pb.h"

namespace polymoe {

// The name of an enum's value without its prefix: ("JOB_STATE_PENDING", "JOB_STATE_") -> "pending".
std::string EnumLabel(absl::string_view name, absl::string_view prefix);

// "pending", "active", ...
std::string StateLabel(v1::JobState state);
std::string StateLabel(v1::AblationState state);
// "polynorm", ...
std::string ActivationLabel(const v1::Job& job);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_JOB_LABELS_H_
