#include "common/units.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace polymoe {

std::optional<uint64_t> ParseCount(absl::string_view text) {
  std::string digits = absl::StrReplaceAll(absl::StripAsciiWhitespace(text), {{"_", ""}});
  double scale = 1;
  if (!digits.empty()) {
    switch (digits.back()) {
      case 'k':
      case 'K':
        scale = 1e3;
        break;
      case 'm':
      case 'M':
        scale = 1e6;
        break;
      case 'g':
      case 'G':
      case 'b':
      case 'B':
        scale = 1e9;
        break;
      case 't':
      case 'T':
        scale = 1e12;
        break;
    }
  }
  if (scale == 1) {
    uint64_t value;
    if (absl::SimpleAtoi(digits, &value)) return value;
  } else {
    digits.pop_back();
  }
  double value;
  if (!absl::SimpleAtod(digits, &value)) return std::nullopt;
  value *= scale;
  if (!(value >= 0) || value > 9e18 || value != std::floor(value)) return std::nullopt;
  return static_cast<uint64_t>(value);
}

std::string FormatCount(double count) {
  static constexpr const char* kSuffixes[] = {"", "k", "M", "B", "T"};
  int suffix = 0;
  // 999.5 and above would print as 1000 of this unit.
  while (std::abs(count) >= 999.5 && suffix < 4) {
    count /= 1000;
    ++suffix;
  }
  return suffix == 0 ? absl::StrFormat("%.0f", count) : absl::StrFormat("%.3g%s", count, kSuffixes[suffix]);
}

std::string FormatBytes(double bytes) {
  static constexpr const char* kSuffixes[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int suffix = 0;
  while (std::abs(bytes) >= 1024 && suffix < 4) {
    bytes /= 1024;
    ++suffix;
  }
  return absl::StrFormat("%.*f %s", suffix == 0 ? 0 : 1, bytes, kSuffixes[suffix]);
}

std::string ShortDuration(absl::Duration duration) {
  const int64_t s = absl::ToInt64Seconds(duration);
  if (s < 60) return absl::StrCat(s, "s");
  if (s < 3600) return absl::StrFormat("%dm%02ds", s / 60, s % 60);
  if (s < 86400) return absl::StrFormat("%dh%02dm", s / 3600, s / 60 % 60);
  return absl::StrFormat("%dd%dh", s / 86400, s / 3600 % 24);
}

}  // namespace polymoe
