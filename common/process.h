// Child processes: started with pipes, watched without threads, ended by id.
#ifndef POLYMOE_COMMON_PROCESS_H_
#define POLYMOE_COMMON_PROCESS_H_

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace polymoe {

struct ProcessOptions {
  std::vector<std::string> argv;                                 // argv[0] is the program's path
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  // Descriptors of ours that the child gets: {ours, number in the child}. All others are closed.
  std::vector<std::pair<int, int>> descriptors;
  std::vector<int> cpus;        // that the child and its threads may run on; empty: those of the thread that starts it
  bool die_with_parent = true;  // the kernel kills the child when the thread that started it ends
  bool new_session = false;     // for daemons that outlive us (`polyctl local up`)
};

struct ProcessExit {
  int exit_code = 0;  // -1 when a signal ended it
  int signal = 0;
  bool ok() const { return exit_code == 0; }
};

// Started when it returns; a program that cannot be executed is an error here, not an exit code. Child's stdin is /dev/null unless
// given.
absl::StatusOr<pid_t> StartProcess(const ProcessOptions& options);

// From waitpid's status word.
ProcessExit ToProcessExit(int wait_status);

// "exit code 3" or "signal 9 (Killed)".
std::string Describe(const ProcessExit& exit);

// For a main, before its first thread: blocks SIGTERM and SIGINT in every thread, so that sigwait on the returned set takes
// them, and ignores SIGPIPE.
sigset_t BlockStopSignals();

// Path of the running program's folder: sibling programs are found there.
std::string ProgramDirectory();

}  // namespace polymoe

#endif  // POLYMOE_COMMON_PROCESS_H_
