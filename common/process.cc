#include "common/process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/check.h"
#include "common/file.h"

extern char** environ;

namespace polymoe {
namespace {

std::vector<std::string> MergedEnvironment(const ProcessOptions& options) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name = std::vector<std::string>(absl::StrSplit(*entry, absl::MaxSplits('=', 1)))[0];
    bool replaced = false;
    for (const auto& [key, value] : options.environment) replaced |= key == name;
    if (!replaced) merged.emplace_back(*entry);
  }
  for (const auto& [key, value] : options.environment) merged.push_back(absl::StrCat(key, "=", value));
  return merged;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& s : strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

// For sched_setaffinity; long enough for the last of `cpus`.
std::vector<cpu_set_t> CpuMask(const std::vector<int>& cpus) {
  if (cpus.empty()) return {};
  std::vector<cpu_set_t> sets(*std::max_element(cpus.begin(), cpus.end()) / CPU_SETSIZE + 1);  // zeroed: no CPU
  for (const int cpu : cpus) CPU_SET_S(cpu, sets.size() * sizeof(cpu_set_t), sets.data());
  return sets;
}

// What the child needs and cannot make itself: between fork and exec it may not allocate.
struct ChildPlan {
  char** argv;
  char** environment;
  const std::vector<cpu_set_t>& cpus;  // empty: as the parent
};

// In the child, between fork and exec: only async-signal-safe calls. Returns only on failure, with errno set.
void BecomeChild(const ProcessOptions& options, const ChildPlan& plan, pid_t parent, int report_fd) {
  if (options.new_session && setsid() < 0) return;
  if (options.die_with_parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return;
    if (getppid() != parent) _exit(1);  // it ended before the request took effect
  }
  if (!plan.cpus.empty() && sched_setaffinity(0, plan.cpus.size() * sizeof(cpu_set_t), plan.cpus.data()) != 0) return;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  // First out of the way of the target numbers, then into place: dup2 also clears close-on-exec.
  int moved[16] = {};
  POLYMOE_CHECK(options.descriptors.size() <= 16);
  int top = report_fd;
  for (const auto& [ours, theirs] : options.descriptors) top = theirs > top ? theirs : top;
  for (size_t i = 0; i < options.descriptors.size(); ++i) {
    moved[i] = fcntl(options.descriptors[i].first, F_DUPFD_CLOEXEC, top + 1);
    if (moved[i] < 0) return;
  }
  const int report = fcntl(report_fd, F_DUPFD_CLOEXEC, top + 1);
  if (report < 0) return;
  bool has_stdin = false;
  for (size_t i = 0; i < options.descriptors.size(); ++i) {
    if (dup2(moved[i], options.descriptors[i].second) < 0) return;
    has_stdin |= options.descriptors[i].second == 0;
  }
  if (!has_stdin) {
    const int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0) return;
    if (null > 2) close(null);
  }
  execve(plan.argv[0], plan.argv, plan.environment);
  const int error = errno;
  [[maybe_unused]] const ssize_t n = write(report, &error, sizeof(error));
  _exit(127);
}

}  // namespace

absl::StatusOr<pid_t> StartProcess(const ProcessOptions& options) {
  POLYMOE_CHECK(!options.argv.empty());
  // The child reports a failed exec through this pipe; a successful exec closes it.
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return ErrnoStatus(errno, "start", options.argv[0]);
  std::vector<std::string> arguments = options.argv;
  std::vector<std::string> environment = MergedEnvironment(options);
  std::vector<char*> argv = Pointers(arguments);
  std::vector<char*> env = Pointers(environment);
  const std::vector<cpu_set_t> cpus = CpuMask(options.cpus);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    BecomeChild(options, {argv.data(), env.data(), cpus}, parent, report[1]);
    const int error = errno;
    [[maybe_unused]] const ssize_t n = write(report[1], &error, sizeof(error));
    _exit(127);
  }
  close(report[1]);
  if (pid < 0) {
    close(report[0]);
    return ErrnoStatus(errno, "start", options.argv[0]);
  }
  int error = 0;
  ssize_t n;
  do {
    n = read(report[0], &error, sizeof(error));
  } while (n < 0 && errno == EINTR);
  close(report[0]);
  if (n == sizeof(error)) {
    waitpid(pid, nullptr, 0);
    return ErrnoStatus(error, "start", options.argv[0]);
  }
  return pid;
}

ProcessExit ToProcessExit(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {.exit_code = -1, .signal = WTERMSIG(wait_status)};
  return {.exit_code = WEXITSTATUS(wait_status), .signal = 0};
}

std::string Describe(const ProcessExit& exit) {
  if (exit.signal != 0) return absl::StrCat("signal ", exit.signal, " (", strsignal(exit.signal), ")");
  return absl::StrCat("exit code ", exit.exit_code);
}

sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

std::string ProgramDirectory() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

}  // namespace polymoe
