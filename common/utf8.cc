#include "common/utf8.h"

#include <cstdint>

namespace polymoe {
namespace {

// Length of the UTF-8 character that `text` starts with, 0 when it starts with none.
size_t CharacterLength(absl::string_view text) {
  const auto at = [text](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const auto continues = [text](size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
      if (i >= text.size() || !IsContinuation(text[i])) return false;
    }
    return true;
  };
  const uint8_t first = at(0), second = at(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1, 2) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (first == 0xE0 && second < 0xA0) return 0;  // overlong
    if (first == 0xED && second > 0x9F) return 0;  // surrogate
    return continues(1, 3) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (first == 0xF0 && second < 0x90) return 0;  // overlong
    if (first == 0xF4 && second > 0x8F) return 0;  // above U+10FFFF
    return continues(1, 4) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string ToUtf8(absl::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t length = CharacterLength(bytes);
    const absl::string_view character = length > 0 ? bytes.substr(0, length) : absl::string_view("\xEF\xBF\xBD");
    text.append(character.data(), character.size());
    bytes.remove_prefix(length > 0 ? length : 1);
  }
  return text;
}

}  // namespace polymoe
