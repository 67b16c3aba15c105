// How a trainer process finds the other ranks of its attempt.
#ifndef POLYMOE_WORKER_TRAIN_MEETING_H_
#define POLYMOE_WORKER_TRAIN_MEETING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "worker/parallel/layout.h"

namespace polymoe {

struct MeetingOptions {
  uint32_t rank = 0, world_size = 1, expert_parallel = 1;
  std::string bind;    // as ConnectOptions
  std::string folder;  // where the ranks of one machine meet; empty: at the coordinator
  std::string server, job;
  uint32_t attempt = 1;
  absl::Duration deadline;  // that no rank is waited for longer, from the meeting on
};

// The groups of this rank. Alone, it meets nobody. INVALID_ARGUMENT for options that cannot be; else as ConnectRanks, but that an attempt
// which is over is ABORTED.
absl::StatusOr<Ranks> MeetRanks(const MeetingOptions& options);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_MEETING_H_
