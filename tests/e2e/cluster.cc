#include "tests/e2e/cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <nlohmann/json.hpp>

#include "common/check.h"
#include "common/file.h"
#include "common/process.h"

namespace polymoe {
namespace {

using nlohmann::json;

int OpenForWriting(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  POLYMOE_CHECK(fd >= 0, "open %s", path.c_str());
  return fd;
}

ProcessExit Reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) POLYMOE_CHECK(errno == EINTR, "waitpid %d", pid);
  return ToProcessExit(status);
}

}  // namespace

Output Run(const std::vector<std::string>& argv, const std::map<std::string, std::string>& environment) {
  const TempDir dir;
  const int out = OpenForWriting(dir.path() + "/out"), err = OpenForWriting(dir.path() + "/err");
  ProcessOptions options{.argv = argv, .descriptors = {{out, 1}, {err, 2}}};
  options.environment.assign(environment.begin(), environment.end());
  const auto pid = StartProcess(options);
  close(out);
  close(err);
  POLYMOE_CHECK(pid.ok(), "%s", pid.status().ToString().c_str());
  const ProcessExit exit = Reap(*pid);
  return {exit.signal != 0 ? 128 + exit.signal : exit.exit_code, *ReadFile(dir.path() + "/out"), *ReadFile(dir.path() + "/err")};
}

bool WaitUntil(const std::function<bool()>& done, absl::Duration limit) {
  const absl::Time end = absl::Now() + limit;
  while (!done()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(20));
  }
  return true;
}

Cluster::Cluster(absl::Duration lease) : lease_(lease) {}

Cluster::~Cluster() {
  for (const auto& [name, pid] : running_) kill(pid, SIGKILL);
  for (const auto& [name, pid] : running_) Reap(pid);
}

void Cluster::Start(const std::string& name, std::vector<std::string> argv) {
  const std::string address_file = absl::StrCat(dir(), "/", name, ".json");
  unlink(address_file.c_str());
  argv[0] = absl::StrCat(POLYMOE_BIN_DIR, "/", argv[0]);
  argv.insert(argv.end(), {"--address-file", address_file});
  const int log = OpenForWriting(absl::StrCat(dir(), "/", name, ".log"));
  const auto pid = StartProcess({.argv = argv, .descriptors = {{log, 1}, {log, 2}}});
  close(log);
  POLYMOE_CHECK(pid.ok(), "%s", pid.status().ToString().c_str());
  running_[name] = *pid;
  POLYMOE_CHECK(WaitUntil([&] { return PathExists(address_file); }), "%s did not come up:\n%s", name.c_str(),
                LogTail(name).c_str());
}

std::string Cluster::Address(const std::string& name, const std::string& key) const {
  return json::parse(*ReadFile(absl::StrCat(dir(), "/", name, ".json"))).value(key, "");
}

void Cluster::StartServer() {
  Start("server", {"polymoe-server", "--listen", server_address_, "--metrics", metrics_address_, "--store",
                   absl::StrCat("sqlite:", dir(), "/polymoe.db"), "--lease", absl::StrCat(absl::ToInt64Seconds(lease_), "s")});
  server_address_ = Address("server", "grpc");
  metrics_address_ = Address("server", "metrics");
}

void Cluster::StartWorker(const std::string& name, int slots) {
  Start(name, {"polymoe-worker", "--server", server_address_, "--name", name, "--slots", absl::StrCat(slots), "--threads-per-slot",
               "1", "--work-dir", absl::StrCat(dir(), "/", name), "--checkpoint-root", absl::StrCat(dir(), "/checkpoints")});
}

void Cluster::Kill(const std::string& program) {
  POLYMOE_CHECK(kill(running_.at(program), SIGKILL) == 0);
  Reap(running_.at(program));
  running_.erase(program);
}

int Cluster::Terminate(const std::string& program) {
  POLYMOE_CHECK(kill(running_.at(program), SIGTERM) == 0);
  const ProcessExit exit = Reap(running_.at(program));
  running_.erase(program);
  return exit.exit_code;
}

Output Cluster::Polyctl(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), absl::StrCat(POLYMOE_BIN_DIR, "/polyctl"));
  return Run(arguments, {{"POLYMOE_SERVER", server_address_}, {"HOME", dir()}, {"XDG_CONFIG_HOME", dir()}, {"NO_COLOR", "1"}});
}

std::string Cluster::JobField(const std::string& job, const std::string& pointer) const {
  const Output got = Polyctl({"get", job, "-o", "json"});
  const json parsed = json::parse(got.out, nullptr, /*allow_exceptions=*/false);
  const json::json_pointer where(pointer);
  if (parsed.is_discarded() || !parsed.contains(where)) return "";
  return parsed[where].is_string() ? parsed[where].get<std::string>() : parsed[where].dump();
}

bool Cluster::WaitForState(const std::string& job, const std::string& state) const {
  return WaitUntil([&] { return JobField(job, "/state") == "JOB_STATE_" + state; });
}

std::string Cluster::Scrape() const {
  return Run({"/usr/bin/curl", "-s", absl::StrCat("http://", metrics_address_, "/metrics")}).out;
}

std::vector<pid_t> Cluster::Trainers() const {
  std::vector<pid_t> pids;
  for (const std::string& entry : *ListDirectory("/proc")) {
    pid_t pid;
    if (!absl::SimpleAtoi(entry, &pid)) continue;
    const auto command = ReadFile(absl::StrCat("/proc/", entry, "/cmdline"));
    // The checkpoint folder tells our trainers from those of other tests.
    if (command.ok() && command->find("polymoe-train") != std::string::npos && command->find(dir()) != std::string::npos) {
      pids.push_back(pid);
    }
  }
  return pids;
}

std::string Cluster::LogTail(const std::string& program) const {
  const auto log = ReadFile(absl::StrCat(dir(), "/", program, ".log"));
  return !log.ok() ? "" : log->substr(log->size() > 4000 ? log->size() - 4000 : 0);
}

}  // namespace polymoe
