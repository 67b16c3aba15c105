// The order in which training reads sequences: a permutation of all windows of the data for each epoch, one epoch after the other. It
// depends on (seed, epoch, fingerprint of the data, number of windows) and nothing else, so any number of ranks, any batch size and
// any restart sees the same order, and a position in it is one integer.
#ifndef POLYMOE_WORKER_DATA_SAMPLER_H_
#define POLYMOE_WORKER_DATA_SAMPLER_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace polymoe {

class Sampler {
 public:
  // `windows` > 0.
  Sampler(uint64_t seed, absl::string_view fingerprint, uint64_t windows);

  // The window of the index-th sequence overall; its epoch is index / windows(). O(1) time and memory: a Feistel network over the
  // next power of four, walked until it falls into range (Black & Rogaway 2002).
  uint64_t Window(uint64_t index) const;

  uint64_t windows() const { return windows_; }

 private:
  uint64_t Permute(uint64_t key, uint64_t value) const;

  uint64_t key_;
  uint64_t windows_;
  int half_bits_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_SAMPLER_H_
