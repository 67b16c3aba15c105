// Ranks that are processes, on one machine or many: messages over TCP, carried by Gloo.
//
//   FolderKeyValue keys("/tmp/meeting-1");            // or OpenCoordinatorKeyValue(server, job, attempt)
//   POLYMOE_ASSIGN_OR_RETURN(auto transport, ConnectRanks({.world_size = 2, .rank = rank}, keys));
//   const Ranks ranks = MakeRanks(std::move(transport), expert_parallel, absl::Seconds(60));   // layout.h
//
// The bytes are not encrypted: `bind` other than loopback is for networks where everybody is trusted. The process must ignore SIGPIPE
// (BlockStopSignals does), or the end of another rank ends it too.
#ifndef POLYMOE_WORKER_PARALLEL_GLOO_TRANSPORT_H_
#define POLYMOE_WORKER_PARALLEL_GLOO_TRANSPORT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "worker/parallel/key_value.h"
#include "worker/parallel/transport.h"

namespace polymoe {

struct ConnectOptions {
  int world_size = 1, rank = 0;
  std::string bind = "127.0.0.1";               // 10.0.0.5 or eth0: how the other ranks reach this one
  absl::Duration deadline = absl::Seconds(60);  // for all ranks to come and to connect
};

// Connects this rank to all others, of which each calls it too. `keys` is needed until it returns. INVALID_ARGUMENT for a `bind` that
// this machine does not have; DEADLINE_EXCEEDED names the ranks that did not come; UNAVAILABLE the one that came and went; what Wait
// of `keys` said otherwise, FAILED_PRECONDITION when the attempt is over. At most 480 ranks: a rank's addresses must fit a value.
absl::StatusOr<std::unique_ptr<Transport>> ConnectRanks(const ConnectOptions& options, KeyValue& keys);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_GLOO_TRANSPORT_H_
