// Figures and names of a job, as people read them.
#ifndef POLYMOE_POLYCTL_RENDER_FORMAT_H_
#define POLYMOE_POLYCTL_RENDER_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "polymoe/v1/job.pb.h"

#include "polyctl/render/text.h"

namespace polymoe::polyctl {

// What StateName says; also the spelling that --state takes.
std::optional<v1::JobState> ParseState(absl::string_view name);
Style StateStyle(v1::JobState state);

// "slots busy", "worker lost", ...: the rest of the enum value's name.
std::string ReasonName(v1::WaitReason reason);
std::string ReasonName(v1::EndReason reason);

// "polynorm(3)", "swiglu".
std::string ActivationName(const v1::ActivationSpec& activation);

// Four decimals, in exponents when huge; "-" for nothing yet.
std::string FormatLoss(double loss);
// 0.4567 -> "45%"; never 100% before the end.
std::string FormatShare(double share);
double ProgressShare(const v1::Progress& progress);

// From `then_ms` (Unix time) until now: "3m05s"; "-" when it never happened.
std::string FormatAge(int64_t then_ms, absl::Time now);
// "2026-03-01 12:00:00 UTC"
std::string FormatTime(int64_t unix_ms);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_FORMAT_H_
