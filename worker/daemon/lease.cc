#include "worker/daemon/lease.h"

#include <algorithm>
#include <iterator>

namespace polymoe {

void Lease::Registered(absl::Duration length, absl::Duration sent) {
  length_ = length;
  deadline_ = std::max(deadline_, sent + length);
  sent_.clear();
}

uint64_t Lease::HeartbeatSent(absl::Duration now) {
  sent_.emplace(++last_sequence_, now);
  return last_sequence_;
}

void Lease::HeartbeatAcknowledged(uint64_t sequence) {
  const auto sent = sent_.find(sequence);
  if (sent == sent_.end()) return;
  deadline_ = std::max(deadline_, sent->second + length_);
  sent_.erase(sent_.begin(), std::next(sent));
}

absl::Duration ReconnectDelay(int failures, double uniform) {
  const absl::Duration full = std::min(absl::Milliseconds(100) * (1 << std::clamp(failures - 1, 0, 10)), absl::Seconds(1));
  return full * (0.5 + 0.5 * uniform);
}

}  // namespace polymoe
