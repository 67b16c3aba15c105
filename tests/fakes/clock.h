// Time that a test moves.
#ifndef POLYMOE_TESTS_FAKES_CLOCK_H_
#define POLYMOE_TESTS_FAKES_CLOCK_H_

#include <mutex>

#include "absl/time/time.h"

#include "common/clock.h"

namespace polymoe {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  absl::Duration Monotonic() const override {
    const std::lock_guard lock(mutex_);
    return monotonic_;
  }

  void Advance(absl::Duration duration) {
    const std::lock_guard lock(mutex_);
    now_ += duration;
    monotonic_ += duration;
  }
  // As when somebody sets the machine's clock.
  void SetWall(absl::Time now) {
    const std::lock_guard lock(mutex_);
    now_ = now;
  }

 private:
  mutable std::mutex mutex_;
  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
  absl::Duration monotonic_ = absl::Hours(5);
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_FAKES_CLOCK_H_
