// Where training goes on from: the choice of a checkpoint, and what becomes of those that the choice leaves behind.
#ifndef POLYMOE_WORKER_TRAIN_RESUME_H_
#define POLYMOE_WORKER_TRAIN_RESUME_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "worker/checkpoint/checkpoint.h"

namespace polymoe {

// Fills `slabs` from a checkpoint and returns its state, or returns `fresh` and touches nothing. `choice` is
//   "none"  from scratch
//   "auto"  the newest good checkpoint in `storage`; from scratch when it holds none
//   PATH    that checkpoint (.../step-00000100, s3:// too), else an older one beside it, else a newer one: an attempt that could not
//           tell the coordinator any more may have saved it and dropped the one that the coordinator knows
// A damaged checkpoint is passed over with a warning. When none is left, the error of the newest one; INVALID_ARGUMENT when it is of
// another model or other data than `fresh`, since an older one would not help; nor does one when the storage fails.
absl::StatusOr<TrainerState> Resume(const std::string& choice, Storage& storage, const TrainerState& fresh,
                                    absl::Span<const TensorSlab> slabs);

// Sets each committed checkpoint of a later step aside (SetAside), with a warning. They are another course of this run (an earlier run,
// an attempt that got further, or damaged): left in place, they would count as newest, and as already saved.
absl::Status SetAsideNewer(Storage& storage, uint64_t step);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_RESUME_H_
