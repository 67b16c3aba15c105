#include "common/ids.h"

#include <sys/random.h>

#include <array>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "common/check.h"

namespace polymoe {
namespace {

void FillRandom(void* bytes, size_t size) {
  POLYMOE_CHECK(getrandom(bytes, size, 0) == static_cast<ssize_t>(size), "getrandom of %zu bytes", size);
}

}  // namespace

std::string NewUuid() {
  std::array<uint8_t, 16> bytes;
  FillRandom(bytes.data(), bytes.size());
  bytes[6] = (bytes[6] & 0x0f) | 0x40;  // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80;  // RFC 4122 variant
  const std::string hex = absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const absl::string_view h = hex;
  return absl::StrCat(h.substr(0, 8), "-", h.substr(8, 4), "-", h.substr(12, 4), "-", h.substr(16, 4), "-", h.substr(20));
}

std::string NewSuffix(int length) {
  static constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
  std::string suffix(length, '\0');
  FillRandom(suffix.data(), suffix.size());
  for (char& c : suffix) c = kAlphabet[static_cast<uint8_t>(c) & 31];
  return suffix;
}

}  // namespace polymoe
