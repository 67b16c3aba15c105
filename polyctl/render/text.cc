#include "polyctl/render/text.h"

#include <cstdint>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"

namespace polymoe::polyctl {
namespace {

const char* Escape(Style style) {
  switch (style) {
    case Style::kBold:
      return "\033[1m";
    case Style::kDim:
      return "\033[2m";
    case Style::kGreen:
      return "\033[32m";
    case Style::kRed:
      return "\033[31m";
    case Style::kYellow:
      return "\033[33m";
    case Style::kBlue:
      return "\033[34m";
    case Style::kBoldGreen:
      return "\033[1;32m";
    case Style::kArm0:
      return "\033[38;5;32m";
    case Style::kArm1:
      return "\033[38;5;166m";
    case Style::kArm2:
      return "\033[38;5;36m";
    case Style::kArm3:
      return "\033[38;5;170m";
    case Style::kArm4:
      return "\033[38;5;178m";
    case Style::kArm5:
      return "\033[38;5;74m";
    case Style::kArm6:
      return "\033[38;5;130m";
    case Style::kPlain:
      break;
  }
  return "";
}

// Takes one character off the front of `text`. A byte that is no UTF-8 counts as a character of its own.
uint32_t NextCodePoint(absl::string_view& text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  if (size > text.size()) size = 1;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) size = 1;  // an escape behind a broken character must not hide in it
  }
  uint32_t code = size == 1 ? lead : lead & (0x7f >> size);
  for (size_t i = 1; i < size; ++i) code = code << 6 | (static_cast<uint8_t>(text[i]) & 0x3f);
  text.remove_prefix(size);
  return code;
}

int WidthOf(uint32_t code) {
  const auto within = [code](uint32_t first, uint32_t last) { return code >= first && code <= last; };
  if (within(0x0300, 0x036f) || within(0x200b, 0x200f) || within(0xfe00, 0xfe0f)) return 0;
  if (within(0x1100, 0x115f) || within(0x2e80, 0xa4cf) || within(0xac00, 0xd7a3) || within(0xf900, 0xfaff) ||
      within(0xfe30, 0xfe6f) || within(0xff00, 0xff60) || within(0x1f300, 0x1faff) || within(0x20000, 0x3fffd)) {
    return 2;
  }
  return 1;
}

}  // namespace

Style ArmStyle(size_t colour) {
  static constexpr Style kStyles[] = {Style::kArm0, Style::kArm1, Style::kArm2, Style::kArm3,
                                      Style::kArm4, Style::kArm5, Style::kArm6};
  return kStyles[colour % std::size(kStyles)];
}

std::string Paint(absl::string_view text, Style style, bool colour) {
  if (!colour || style == Style::kPlain) return std::string(text);
  return absl::StrCat(Escape(style), text, "\033[0m");
}

int DisplayWidth(absl::string_view text) {
  int width = 0;
  while (!text.empty()) width += WidthOf(NextCodePoint(text));
  return width;
}

std::string Truncate(absl::string_view text, int width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (width <= 0) return "";
  absl::string_view rest = text;
  int used = 0;
  while (!rest.empty()) {
    absl::string_view after = rest;
    const int next = WidthOf(NextCodePoint(after));
    if (used + next > width - 1) break;
    used += next;
    rest = after;
  }
  return absl::StrCat(text.substr(0, text.size() - rest.size()), "…");
}

std::string Printable(absl::string_view text) {
  std::string printable;
  while (!text.empty()) {
    const absl::string_view before = text;
    const uint32_t code = NextCodePoint(text);
    const bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);  // U+009B begins an escape sequence as ESC [ does
    absl::StrAppend(&printable, control ? " " : before.substr(0, before.size() - text.size()));
  }
  return printable;
}

std::string ToAscii(absl::string_view text) {
  static const auto* const kSpellings = new std::map<uint32_t, absl::string_view>{
      {0x00b1, "+/-"}, {0x2026, "~"}, {0x2581, "_"}, {0x2582, "."}, {0x2583, ","}, {0x2584, "-"}, {0x2585, "="}, {0x2586, "+"},
      {0x2587, "*"},   {0x2588, "#"}, {0x2589, "#"}, {0x258a, "#"}, {0x258b, "+"}, {0x258c, "+"}, {0x258d, "-"}, {0x258e, "-"},
      {0x258f, "."},   {0x2591, "."}, {0x2713, "D"}, {0x25b6, "R"}, {0x00b7, "."}, {0x2717, "X"}, {0x23f8, "P"}, {0x00d7, "x"}};
  std::string ascii;
  while (!text.empty()) {
    const uint32_t code = NextCodePoint(text);
    const auto spelling = kSpellings->find(code);
    absl::StrAppend(&ascii, code < 0x80                     ? std::string(1, static_cast<char>(code))
                            : spelling == kSpellings->end() ? "?"
                                                            : std::string(spelling->second));
  }
  return ascii;
}

}  // namespace polymoe::polyctl
