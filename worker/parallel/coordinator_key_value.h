// Keys are kept by the coordinator's RendezvousService, in the space of one attempt.
#ifndef POLYMOE_WORKER_PARALLEL_COORDINATOR_KEY_VALUE_H_
#define POLYMOE_WORKER_PARALLEL_COORDINATOR_KEY_VALUE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "worker/parallel/key_value.h"

namespace polymoe {

// `server` is host:port, INVALID_ARGUMENT when it is none. Connects when first used.
//
// A coordinator that is down, or is killed and comes back, is waited for: it keeps keys in memory only, so the client puts its own ones
// again every second until it is destroyed. FAILED_PRECONDITION from Wait is final: the attempt is over, or another one runs.
absl::StatusOr<std::unique_ptr<KeyValue>> OpenCoordinatorKeyValue(const std::string& server, const std::string& job,
                                                                  uint32_t attempt);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_COORDINATOR_KEY_VALUE_H_
