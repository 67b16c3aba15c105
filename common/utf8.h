// Bytes that should be text: protobuf strings and PostgreSQL hold valid UTF-8 only, and trainers print what they like.
#ifndef POLYMOE_COMMON_UTF8_H_
#define POLYMOE_COMMON_UTF8_H_

#include <string>

#include "absl/strings/string_view.h"

namespace polymoe {

// The same text with every byte that is not part of valid UTF-8 (RFC 3629, section 4) replaced by U+FFFD.
std::string ToUtf8(absl::string_view bytes);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_UTF8_H_
