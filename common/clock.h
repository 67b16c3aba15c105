// Time, as something that tests can hold in their hand. Code that waits, expires or stamps takes a Clock; nothing else reads the
// system's clocks.
#ifndef POLYMOE_COMMON_CLOCK_H_
#define POLYMOE_COMMON_CLOCK_H_

#include "absl/time/time.h"

namespace polymoe {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time: stamps for people. May jump.
  virtual absl::Time Now() const = 0;
  // Since an arbitrary start, never backwards: leases, backoffs, rates.
  virtual absl::Duration Monotonic() const = 0;

  // The machine's clocks. Thread-safe, lives for ever.
  static const Clock& Real();
};

// Unix milliseconds, the unit of every *_ms stamp in proto/.
inline int64_t UnixMillis(const Clock& clock) {
  return absl::ToUnixMillis(clock.Now());
}

}  // namespace polymoe

#endif  // POLYMOE_COMMON_CLOCK_H_
