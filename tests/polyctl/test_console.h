// A console in memory, at a time that stands still.
#ifndef POLYMOE_TESTS_POLYCTL_TEST_CONSOLE_H_
#define POLYMOE_TESTS_POLYCTL_TEST_CONSOLE_H_

#include <sstream>
#include <string>
#include <vector>

#include "common/clock.h"
#include "polyctl/cli.h"

namespace polymoe::polyctl {

inline constexpr int64_t kNowMs = 1'772'366'400'000;  // 2026-03-01 12:00:00 UTC

class StoppedClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixMillis(kNowMs); }
  absl::Duration Monotonic() const override { return absl::ZeroDuration(); }
};

struct TestConsole {
  std::istringstream in;
  std::ostringstream out, err;
  StoppedClock clock;
  Console console{.in = in, .out = out, .err = err, .clock = clock};

  // Runs polyctl and gives its exit code; what it prints is in out and err, without that of earlier runs.
  int Run(const std::vector<std::string>& args, const ClientOptions& options = {}) {
    out.str("");
    err.str("");
    return RunPolyctl(args, console, options);
  }
};

}  // namespace polymoe::polyctl

#endif  // POLYMOE_TESTS_POLYCTL_TEST_CONSOLE_H_
