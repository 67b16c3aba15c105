// Which checkpoints stay, and the removal of the others and of what interrupted saves left.
#ifndef POLYMOE_WORKER_CHECKPOINT_RETENTION_H_
#define POLYMOE_WORKER_CHECKPOINT_RETENTION_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/storage.h"

namespace polymoe {

struct Retention {
  uint32_t keep_last = 1;   // newest; 0 is 1
  uint64_t keep_every = 0;  // tokens: the first checkpoint at or past each multiple stays for good; 0: none
};

// Those of `checkpoints` (oldest first) that may go. One whose marker cannot be read is neither counted nor removed.
std::vector<CheckpointInfo> Superfluous(absl::Span<const CheckpointInfo> checkpoints, const Retention& retention);

// After the commit of `step` by `attempt`: removes superfluous checkpoints before `step`, markers first, and what attempts up to this one
// left uncommitted up to `step`. What a newer attempt writes is left alone, whichever attempt calls.
absl::Status Prune(Storage& storage, const Retention& retention, uint64_t step, uint32_t attempt);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_RETENTION_H_
