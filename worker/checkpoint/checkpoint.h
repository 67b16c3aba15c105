// Training state on disk or in an object store. A checkpoint is the folder step-00000100 with
//   attempt-3/rank-0.safetensors   the slabs of rank 0: parameters and both moments; one such file a rank
//   attempt-3/index.json           each tensor with its shape and its boxes: file, place in it, rows, CRC-32
//   attempt-3/trainer.json         TrainerState
//   COMMITTED                      written last, and never over another: without it the folder is no checkpoint. JSON: format version, the
//                                  attempt whose folder counts, tokens, CRC-32 of both JSON files
// So ranks of different attempts never write to the same place, and a checkpoint consists of what one attempt wrote. The layout of the ranks
// that load may differ in every way from that of those that saved. CheckpointWriter (writer.h) makes checkpoints.
#ifndef POLYMOE_WORKER_CHECKPOINT_CHECKPOINT_H_
#define POLYMOE_WORKER_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "worker/checkpoint/slab.h"
#include "worker/checkpoint/storage.h"

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

// Fills the slabs, of which there may be any number and of any cut, from the checkpoint called `name` (step-00000100). Reads and verifies
// the boxes that they need and no others; only then does it touch the first slab. Takes as much memory as those boxes meanwhile.
// INVALID_ARGUMENT for a checkpoint of another model or format version; NOT_FOUND when there is no committed one; DATA_LOSS for a damaged
// one; else an error of the storage, which says nothing about the checkpoint.
absl::StatusOr<TrainerState> LoadCheckpoint(Storage& storage, const std::string& name, absl::string_view model,
                                            absl::Span<const TensorSlab> slabs);

struct CheckpointInfo {
  uint64_t step = 0;
  std::optional<uint64_t> tokens;  // none when the marker cannot be read: damaged, or of another format version
  std::string name;
};

// The committed ones, oldest first; none when the folder is not there.
absl::StatusOr<std::vector<CheckpointInfo>> ListCheckpoints(Storage& storage);

// Makes a checkpoint none, so that its step can be saved anew. A folder is renamed to step-00000100.superseded, in place of an older one.
// In an object store, which cannot rename, the marker is: COMMITTED becomes SUPERSEDED, and the files stay until this step is saved again.
absl::Status SetAside(Storage& storage, const std::string& name);

// step-00000100 <-> 100.
std::string CheckpointName(uint64_t step);
std::optional<uint64_t> ParseCheckpointName(absl::string_view name);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_CHECKPOINT_H_
