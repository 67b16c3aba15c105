#include "tests/e2e/cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
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

}  // namespace

Cluster::Cluster(absl::Duration lease, const std::string& store)
    : lease_(lease), store_(store.empty() ? absl::StrCat("sqlite:", dir(), "/polymoe.db") : store) {}

Cluster::~Cluster() {
  for (const auto& [name, pid] : running_) kill(pid, SIGKILL);
  for (const auto& [name, pid] : running_) Reap(pid);
}

void Cluster::Start(const std::string& name, std::vector<std::string> argv, const std::vector<std::string>& behind) {
  const std::string address_file = absl::StrCat(dir(), "/", name, ".json");
  unlink(address_file.c_str());
  argv[0] = BuiltProgram(argv[0]);
  argv.insert(argv.end(), {"--address-file", address_file});
  argv.insert(argv.begin(), behind.begin(), behind.end());
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
  Start("server", {"polymoe-server", "--listen", server_address_, "--metrics", metrics_address_, "--store", store_, "--lease",
                   absl::StrCat(absl::ToInt64Seconds(lease_), "s")});
  server_address_ = Address("server", "grpc");
  metrics_address_ = Address("server", "metrics");
}

void Cluster::StartWorker(const std::string& name, int slots, const std::vector<std::string>& flags,
                          const std::vector<std::string>& behind) {
  std::vector<std::string> argv = {"polymoe-worker",
                                   "--name",
                                   name,
                                   "--slots",
                                   absl::StrCat(slots),
                                   "--threads-per-slot",
                                   "1",
                                   "--work-dir",
                                   absl::StrCat(dir(), "/", name),
                                   "--checkpoint-root",
                                   absl::StrCat(dir(), "/checkpoints")};
  if (std::find(flags.begin(), flags.end(), "--server") == flags.end()) argv.insert(argv.end(), {"--server", server_address_});
  argv.insert(argv.end(), flags.begin(), flags.end());
  Start(name, argv, behind);
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
  arguments.insert(arguments.begin(), BuiltProgram("polyctl"));
  return RunProgram(arguments,
                    {{"POLYMOE_SERVER", server_address_}, {"HOME", dir()}, {"XDG_CONFIG_HOME", dir()}, {"NO_COLOR", "1"}});
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

std::string Cluster::Scrape(const std::string& program) const {
  return RunProgram({"/usr/bin/curl", "-s", absl::StrCat("http://", Address(program, "metrics"), "/metrics")}).out;
}

std::vector<pid_t> Cluster::Trainers() const {
  std::vector<pid_t> pids;
  const auto entries = ListDirectory("/proc");
  for (const std::string& entry : *entries) {
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
