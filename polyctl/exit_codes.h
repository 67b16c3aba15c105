// How polyctl ends. Scripts rely on these numbers: they tell a failed job from a failed tool. `polyctl help exit-codes` prints them.
#ifndef POLYMOE_POLYCTL_EXIT_CODES_H_
#define POLYMOE_POLYCTL_EXIT_CODES_H_

#include <string>

#include "absl/status/status.h"

namespace polymoe::polyctl {

enum class ExitCode {
  kOk = 0,
  kError = 1,
  kUsage = 2,
  kNotFound = 3,
  kAuth = 4,
  kConflict = 5,
  kUnavailable = 6,
  kWaitTimeout = 7,
  kJobFailed = 8,
  kJobCancelled = 9,
  kInterrupted = 130,  // by the shell's convention for a process that SIGINT ended; polyctl leaves SIGINT alone
};

// Of a command that ended with `status`. Outcomes of jobs (7, 8, 9) are no errors of a call; commands return them themselves.
ExitCode ExitCodeOf(const absl::Status& status);

// The documented table, one line a code.
std::string ExitCodeTable();

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_EXIT_CODES_H_
