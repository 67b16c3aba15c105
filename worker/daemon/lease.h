// How long this daemon may go on running ranks without an answer of the coordinator. Pure: times are Clock::Monotonic values.
//
// An answer proves that the coordinator knew of us when the question was sent, not when the answer came; so the lease counts from the
// sending time. The coordinator counts from the receipt, which is later: we always give up first.
#ifndef POLYMOE_WORKER_DAEMON_LEASE_H_
#define POLYMOE_WORKER_DAEMON_LEASE_H_

#include <cstdint>
#include <map>

#include "absl/time/time.h"

namespace polymoe {

class Lease {
 public:
  // The coordinator answered the Register that was sent at `sent`. Heartbeats of earlier streams are forgotten.
  void Registered(absl::Duration length, absl::Duration sent);

  // A heartbeat leaves now; its number is returned.
  uint64_t HeartbeatSent(absl::Duration now);

  // It was answered. Unknown and repeated numbers change nothing.
  void HeartbeatAcknowledged(uint64_t sequence);

  // Never moves backwards. -infinity before the first registration.
  absl::Duration deadline() const { return deadline_; }

 private:
  absl::Duration length_;
  absl::Duration deadline_ = -absl::InfiniteDuration();
  uint64_t last_sequence_ = 0;
  std::map<uint64_t, absl::Duration> sent_;  // of heartbeats without an answer
};

// Before the connection attempt after `failures` >= 1 failed ones: 100 ms doubling up to 1 s, of which the upper half is random, so
// that the workers of a restarted coordinator do not come all at once. `uniform` is in [0, 1).
absl::Duration ReconnectDelay(int failures, double uniform);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_LEASE_H_
