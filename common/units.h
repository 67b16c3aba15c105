// Numbers as people write and read them.
#ifndef POLYMOE_COMMON_UNITS_H_
#define POLYMOE_COMMON_UNITS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace polymoe {

// "500k", "2M", "1.5B", "1_000_000" -> a count. Nothing for what is no whole non-negative number or does not fit.
std::optional<uint64_t> ParseCount(absl::string_view text);

// 1234567 -> "1.23M"; below 1000 as it is.
std::string FormatCount(double count);

// Bytes with binary prefixes: "1.5 GiB".
std::string FormatBytes(double bytes);

// "42s", "3m05s", "2h10m", "3d4h": two units, no fractions.
std::string ShortDuration(absl::Duration duration);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_UNITS_H_
