#include "polyctl/render/format.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

#include "common/spec/names.h"
#include "common/units.h"

namespace polymoe::polyctl {
namespace {

std::string Words(absl::string_view name, absl::string_view prefix) {
  return absl::StrReplaceAll(EnumName(name, prefix), {{"_", " "}});
}

}  // namespace

std::optional<v1::JobState> ParseState(absl::string_view name) {
  v1::JobState state;
  if (!v1::JobState_Parse(absl::StrCat("JOB_STATE_", absl::AsciiStrToUpper(name)), &state)) return std::nullopt;
  return state;
}

Style StateStyle(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_PENDING:
      return Style::kYellow;
    case v1::JOB_STATE_STARTING:
    case v1::JOB_STATE_RUNNING:
      return Style::kBlue;
    case v1::JOB_STATE_SUCCEEDED:
      return Style::kGreen;
    case v1::JOB_STATE_FAILED:
      return Style::kRed;
    case v1::JOB_STATE_CANCELLED:
      return Style::kDim;
    default:
      return Style::kPlain;
  }
}

std::string ReasonName(v1::WaitReason reason) {
  return Words(v1::WaitReason_Name(reason), "WAIT_REASON_");
}

std::string ReasonName(v1::EndReason reason) {
  return Words(v1::EndReason_Name(reason), "END_REASON_");
}

std::string ActivationName(const v1::ActivationSpec& activation) {
  std::string name = EnumName(v1::ActivationKind_Name(activation.kind()), "ACTIVATION_KIND_");
  if (absl::StartsWith(name, "poly")) absl::StrAppend(&name, "(", activation.order(), ")");
  return name;
}

std::string FormatLoss(double loss) {
  if (loss == 0) return "-";
  return std::abs(loss) < 1000 ? absl::StrFormat("%.4f", loss) : absl::StrFormat("%.3e", loss);
}

double ProgressShare(const v1::Progress& progress) {
  if (progress.tokens_target() == 0) return 0;
  return std::min(1.0, static_cast<double>(progress.tokens()) / static_cast<double>(progress.tokens_target()));
}

std::string FormatShare(double share) {
  return absl::StrFormat("%d%%", static_cast<int>(std::floor(share * 100)));
}

std::string FormatAge(int64_t then_ms, absl::Time now) {
  if (then_ms == 0) return "-";
  return ShortDuration(std::max(absl::ZeroDuration(), now - absl::FromUnixMillis(then_ms)));
}

std::string FormatTime(int64_t unix_ms) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixMillis(unix_ms), absl::UTCTimeZone());
}

}  // namespace polymoe::polyctl
