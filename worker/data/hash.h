// The two small hash functions of the data path. Both are part of formats (splits, fingerprints, orders): they must never change.
#ifndef POLYMOE_WORKER_DATA_HASH_H_
#define POLYMOE_WORKER_DATA_HASH_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace polymoe {

// SplitMix64's finaliser (Steele, Lea & Flood 2014): a bijection of 64 bits that mixes well.
inline uint64_t Mix64(uint64_t z) {
  z += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// FNV-1a over bytes, finished by Mix64 so that every bit of the result depends on every byte.
inline uint64_t HashBytes(absl::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return Mix64(hash);
}

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_HASH_H_
