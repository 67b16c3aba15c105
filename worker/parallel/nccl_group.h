// Groups of GPUs over NCCL. Built where CMake finds CUDA and NCCL (cmake -D NCCL_ROOT=DIR says where).
//
// What differs from other groups (group.h):
//   - All buffers, the spans of blocking operations too, are device memory, and complete when an operation begins: synchronise with what
//     writes them before. An operation runs on a stream of its channel; Finish waits for it.
//   - The order of sums is NCCL's: equal on all ranks and in all runs on the same machines with the same settings, but not that of the
//     ranks.
//   - NCCL does not say which rank is lost, so errors name none.
//   - Abort takes effect in the thread that uses the group: where it waits, or at its next call.
//   - bytes_sent counts what an operation moves away from a rank if each piece is sent once to whoever needs it.
// NCCL reads its own variables (NCCL_SOCKET_IFNAME, NCCL_DEBUG, ...) from the environment.
#ifndef POLYMOE_WORKER_PARALLEL_NCCL_GROUP_H_
#define POLYMOE_WORKER_PARALLEL_NCCL_GROUP_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "worker/parallel/key_value.h"
#include "worker/parallel/layout.h"

namespace polymoe {

struct NcclOptions {
  int world_size = 1, rank = 0, expert_parallel = 1;
  absl::Duration meeting = absl::Seconds(60);   // for all ranks to come and to connect
  absl::Duration deadline = absl::Seconds(60);  // of each operation
};

// Connects the calling thread's current GPU (cudaSetDevice) to those of all other ranks, of which each calls it too, one GPU a rank.
// Ranks::transport stays empty. FAILED_PRECONDITION without a GPU; DEADLINE_EXCEEDED when not all came; UNAVAILABLE when NCCL could
// not connect them, in its words.
absl::StatusOr<Ranks> ConnectNccl(const NcclOptions& options, KeyValue& keys);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_NCCL_GROUP_H_
