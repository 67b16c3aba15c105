#include "server/metrics/job_labels.h"

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

namespace polymoe {

std::string EnumLabel(absl::string_view name, absl::string_view prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

std::string StateLabel(v1::JobState state) {
  return EnumLabel(v1::JobState_Name(state), "JOB_STATE_");
}

std::string StateLabel(v1::AblationState state) {
  return EnumLabel(v1::AblationState_Name(state), "ABLATION_STATE_");
}

std::string ActivationLabel(const v1::Job& job) {
  return EnumLabel(v1::ActivationKind_Name(job.file().spec().model().activation().kind()), "ACTIVATION_KIND_");
}

}  // namespace polymoe
