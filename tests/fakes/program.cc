#include "tests/fakes/program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "common/check.h"
#include "common/file.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

int Create(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  POLYMOE_CHECK(fd >= 0, "open %s", path.c_str());
  return fd;
}

}  // namespace

Output RunProgram(const std::vector<std::string>& argv, const std::map<std::string, std::string>& environment) {
  const TempDir dir;
  const int out = Create(dir.path() + "/out"), err = Create(dir.path() + "/err");
  ProcessOptions options{.argv = argv, .descriptors = {{out, 1}, {err, 2}}};
  options.environment.assign(environment.begin(), environment.end());
  const auto pid = StartProcess(options);
  close(out);
  close(err);
  POLYMOE_CHECK(pid.ok(), "%s", pid.status().ToString().c_str());
  const ProcessExit exit = Reap(*pid);
  return {exit.signal != 0 ? 128 + exit.signal : exit.exit_code, *ReadFile(dir.path() + "/out"), *ReadFile(dir.path() + "/err")};
}

std::string BuiltProgram(const std::string& name) {
  return absl::StrCat(POLYMOE_BIN_DIR, "/", name);
}

ProcessExit Reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) POLYMOE_CHECK(errno == EINTR, "waitpid %d", pid);
  return ToProcessExit(status);
}

bool WaitUntil(const std::function<bool()>& done, absl::Duration limit) {
  const absl::Time end = absl::Now() + limit;
  while (!done()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(20));
  }
  return true;
}

}  // namespace polymoe
