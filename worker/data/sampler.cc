#include "worker/data/sampler.h"

#include "common/check.h"
#include "worker/data/hash.h"

namespace polymoe {

Sampler::Sampler(uint64_t seed, absl::string_view fingerprint, uint64_t windows)
    : key_(Mix64(seed) ^ HashBytes(fingerprint)), windows_(windows), half_bits_(1) {
  POLYMOE_CHECK(windows > 0, "no windows to sample from");
  while (half_bits_ < 32 && (uint64_t{1} << (2 * half_bits_)) < windows) ++half_bits_;
}

uint64_t Sampler::Window(uint64_t index) const {
  const uint64_t key = Mix64(key_ + index / windows_);
  uint64_t value = index % windows_;
  do {
    value = Permute(key, value);  // a bijection of [0, 4^half_bits): walking it stays a bijection of [0, windows)
  } while (value >= windows_);
  return value;
}

uint64_t Sampler::Permute(uint64_t key, uint64_t value) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_, right = value & mask;
  for (uint64_t round = 0; round < 6; ++round) {
    const uint64_t next = left ^ (Mix64(key ^ (round << 56) ^ right) & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

}  // namespace polymoe
