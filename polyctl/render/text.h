// Text on a terminal: width, padding, colour. Everything in render/ is pure: data in, text out.
#ifndef POLYMOE_POLYCTL_RENDER_TEXT_H_
#define POLYMOE_POLYCTL_RENDER_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace polymoe::polyctl {

enum class Style { kPlain, kBold, kDim, kGreen, kRed, kYellow, kBlue, kBoldGreen, kArm0, kArm1, kArm2, kArm3, kArm4, kArm5, kArm6 };

// Colours of curves, of the terminal's 256, told apart by colour-blind people too; the eighth is the first again.
Style ArmStyle(size_t colour);

// With ANSI escapes when `colour`; unchanged otherwise.
std::string Paint(absl::string_view text, Style style, bool colour);

// Columns of UTF-8 text: 2 for a wide East Asian character or an emoji, 0 for a combining mark, else 1. No escapes in `text`.
int DisplayWidth(absl::string_view text);

// At most `width` columns; what is cut off is replaced by an ellipsis.
std::string Truncate(absl::string_view text, int width);

// Control characters (a job's message may hold escapes) become spaces, so that they cannot move the cursor.
std::string Printable(absl::string_view text);

// For terminals that know ASCII only: bars and blocks of plot.h, the signs that tables use; '?' for everything else.
std::string ToAscii(absl::string_view text);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_TEXT_H_
