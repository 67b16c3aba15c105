// Programs as users run them: started with arguments, read to their end.
#ifndef POLYMOE_TESTS_FAKES_PROGRAM_H_
#define POLYMOE_TESTS_FAKES_PROGRAM_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "common/process.h"

namespace polymoe {

struct Output {
  int exit_code = 0;  // 128 + signal for a program that a signal ended
  std::string out, err;
};

// Runs a program to its end. argv[0] is a path; the environment is added to ours.
Output RunProgram(const std::vector<std::string>& argv, const std::map<std::string, std::string>& environment = {});

// Path of a program that was built here.
std::string BuiltProgram(const std::string& name);

// Blocks until the child has ended.
ProcessExit Reap(pid_t pid);

// Calls `done` every few milliseconds until it answers true. False when `limit` passed first: the caller's failure message. This is
// how tests wait for other processes: for a state, never for a time.
bool WaitUntil(const std::function<bool()>& done, absl::Duration limit = absl::Seconds(120));

}  // namespace polymoe

#endif  // POLYMOE_TESTS_FAKES_PROGRAM_H_
