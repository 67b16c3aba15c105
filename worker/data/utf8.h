// Cutting text without tearing a character of UTF-8 apart.
#ifndef POLYMOE_WORKER_DATA_UTF8_H_
#define POLYMOE_WORKER_DATA_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace polymoe {

// The last position at or before `at` (3 < at < text.size()) where a character starts. Text that is not UTF-8 is cut up to 3 bytes early.
inline size_t CharacterBoundary(absl::string_view text, size_t at) {
  for (int i = 0; i < 3 && (text[at] & 0xc0) == 0x80; ++i) --at;
  return at;
}

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_UTF8_H_
