// Text in UTF-8 (RFC 3629): made valid, and cut without tearing a character apart.
#ifndef POLYMOE_COMMON_UTF8_H_
#define POLYMOE_COMMON_UTF8_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace polymoe {

// The same text with every byte that is not part of valid UTF-8 (section 4) replaced by U+FFFD. Protobuf strings and PostgreSQL hold
// nothing else, and trainers print what they like.
std::string ToUtf8(absl::string_view bytes);

// Whether `c` stands inside a character, behind its first byte.
inline bool IsContinuation(char c) {
  return (c & 0xC0) == 0x80;
}

// The last position at or before `at` (3 < at < text.size()) where a character starts. Text that is not UTF-8 is cut up to 3 bytes early.
inline size_t CharacterBoundary(absl::string_view text, size_t at) {
  for (int i = 0; i < 3 && IsContinuation(text[at]); ++i) --at;
  return at;
}

}  // namespace polymoe

#endif  // POLYMOE_COMMON_UTF8_H_
