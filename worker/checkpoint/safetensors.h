// The head of a file in the safetensors format (huggingface/safetensors README): u64 length, JSON, and then the tensors. Only F32, which is
// all that we keep. Files open in every tool that reads the format: a whole tensor under its name, rows [b, e) of one as NAME[b:e].
#ifndef POLYMOE_WORKER_CHECKPOINT_SAFETENSORS_H_
#define POLYMOE_WORKER_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "worker/checkpoint/slab.h"
#include "worker/checkpoint/storage.h"

namespace polymoe {

// Everything before the data of these slabs, which follow one another in this order; those without rows are left out. Its size is a
// multiple of 8. `note` is kept with it, for ReadSafetensorsNote.
std::string SafetensorsHead(absl::Span<const TensorSlab> slabs, const std::string& note);

struct SafetensorsNote {
  std::string note;
  uint64_t data_offset;  // of the first tensor in the file
};

// DATA_LOSS when the object does not begin like one of ours.
absl::StatusOr<SafetensorsNote> ReadSafetensorsNote(Storage& storage, const std::string& name);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_SAFETENSORS_H_
