// Training state on disk. A checkpoint is the folder DIRECTORY/step-00000100 with
//   rank-0.safetensors   the tensors: parameters and both moments
//   index.json           format version; each file with size and CRC-32; each tensor with its global shape and its boxes in the files
//   trainer.json         TrainerState
//   COMMITTED            written last: without it the folder is no checkpoint
// All of it is written to DIRECTORY/step-00000100.tmp, fsynced, renamed, and only then marked. A crash at any point leaves the older
// checkpoints as they were.
#ifndef POLYMOE_WORKER_CHECKPOINT_CHECKPOINT_H_
#define POLYMOE_WORKER_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "worker/checkpoint/safetensors.h"

namespace polymoe {

struct TrainerState {
  uint64_t step = 0;
  uint64_t tokens = 0;
  uint64_t sequences = 0;  // position in the data order
  uint64_t skipped = 0;    // steps without an update, because of values that were not finite
  uint64_t updates = 0;    // steps with one: AdamW's t
  std::string data_order;  // what decides the order of the sequences, in words; must match for `sequences` to mean the same
  std::string model;       // the shape in words; must match on load
};

// Returns the checkpoint's path. A complete checkpoint of this step that is there already is left alone.
absl::StatusOr<std::string> SaveCheckpoint(const std::string& directory, const TrainerState& state,
                                           absl::Span<const TensorRef> tensors);

// Verifies everything, then fills the tensors. INVALID_ARGUMENT for a checkpoint of another model, DATA_LOSS or NOT_FOUND for a damaged
// or incomplete one; the tensors are untouched then.
absl::StatusOr<TrainerState> LoadCheckpoint(const std::string& path, absl::string_view model, absl::Span<const TensorRef> tensors);

struct CheckpointInfo {
  uint64_t step = 0;
  std::string path;
};

// The committed ones, oldest first; none when the folder is not there.
absl::StatusOr<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& directory);

// Removes all but the newest `keep_last` (at least 1) committed checkpoints, and what interrupted saves left.
absl::Status PruneCheckpoints(const std::string& directory, uint32_t keep_last);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_CHECKPOINT_H_
