#include "common/spec/names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

namespace polymoe {

std::string EnumName(absl::string_view name, absl::string_view prefix) {
  return name.empty() ? "unknown" : absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

std::string StateName(v1::JobState state) {
  return EnumName(v1::JobState_Name(state), "JOB_STATE_");
}

std::string StateName(v1::AblationState state) {
  return EnumName(v1::AblationState_Name(state), "ABLATION_STATE_");
}

std::string ActivationKindName(const v1::Job& job) {
  return EnumName(v1::ActivationKind_Name(job.file().spec().model().activation().kind()), "ACTIVATION_KIND_");
}

bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

bool IsFinal(v1::AblationState state) {
  return state == v1::ABLATION_STATE_SUCCEEDED || state == v1::ABLATION_STATE_FAILED || state == v1::ABLATION_STATE_CANCELLED;
}

}  // namespace polymoe
