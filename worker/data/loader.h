// Batches of sequences. Window w of a split is tokens [w T, w T + T] (T + 1 of them): inputs are the first T, targets the last T.
#ifndef POLYMOE_WORKER_DATA_LOADER_H_
#define POLYMOE_WORKER_DATA_LOADER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "worker/data/dataset.h"
#include "worker/data/sampler.h"

namespace polymoe {

class BatchLoader {
 public:
  // Training order. FAILED_PRECONDITION when the split is too short for one sequence. Keeps a reference to `dataset`.
  static absl::StatusOr<BatchLoader> Shuffled(const Dataset& dataset, uint32_t sequence_length, uint64_t seed);

  // Sequences first_index .. first_index + count - 1 of the endless order, into tokens and targets [count, T].
  void Fill(uint64_t first_index, uint32_t count, int32_t* tokens, int32_t* targets) const;

 private:
  BatchLoader(const Dataset& dataset, const Sampler& sampler, uint32_t length)
      : dataset_(&dataset), sampler_(sampler), length_(length) {}

  const Dataset* dataset_;
  Sampler sampler_;
  uint32_t length_;
};

// Number of windows in a split; FAILED_PRECONDITION when there is none.
absl::StatusOr<uint64_t> CountWindows(const Dataset& dataset, uint32_t sequence_length);

// One window, for reading in order (validation).
void ReadWindow(const Dataset& dataset, uint64_t window, uint32_t sequence_length, int32_t* tokens, int32_t* targets);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_LOADER_H_
