#include "polyctl/local_cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <nlohmann/json.hpp>

#include "common/cpus.h"
#include "common/file.h"
#include "common/process.h"
#include "common/status.h"

namespace polymoe::polyctl {
namespace {

using nlohmann::json;

constexpr absl::Duration kStartLimit = absl::Seconds(20), kStopLimit = absl::Seconds(40);

std::string RecordPath(const std::string& dir) {
  return dir + "/cluster.json";
}

// Field 22 of /proc/PID/stat; 0 when there is no such process, or only its remains.
uint64_t StartTime(pid_t pid) {
  const absl::StatusOr<std::string> stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) return 0;
  // The second field is the name in parentheses and may hold spaces: count from behind it.
  const std::vector<std::string> fields = absl::StrSplit(stat->substr(stat->rfind(')') + 1), ' ', absl::SkipEmpty());
  uint64_t started = 0;
  if (fields.size() < 20 || fields[0] == "Z" || !absl::SimpleAtoi(fields[19], &started)) return 0;
  return started;
}

// Polls a condition of other processes; there is nothing to wait on.
template <class Done>
bool WaitFor(absl::Duration limit, const Done& done) {
  const absl::Time end = absl::Now() + limit;
  while (!done()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(20));
  }
  return true;
}

// Runs on `cpus`; anywhere when that is empty.
absl::StatusOr<LocalProcess> Spawn(const std::string& dir, const std::string& name, std::vector<std::string> argv,
                                   const std::vector<int>& cpus = {}) {
  LocalProcess process{.name = name, .log = absl::StrCat(dir, "/", name, ".log")};
  const std::string ready = absl::StrCat(dir, "/", name, ".json");
  unlink(ready.c_str());
  argv[0] = absl::StrCat(ProgramDirectory(), "/", argv[0]);
  argv.insert(argv.end(), {"--address-file", ready});
  const int log = open(process.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return ErrnoStatus(errno, "create", process.log);
  const absl::StatusOr<pid_t> pid = StartProcess(
      {.argv = argv, .descriptors = {{log, 1}, {log, 2}}, .cpus = cpus, .die_with_parent = false, .new_session = true});
  close(log);
  POLYMOE_RETURN_IF_ERROR(pid.status());
  process.pid = *pid;
  process.started = StartTime(*pid);
  int status = 0;
  bool ended = false;
  const bool up = WaitFor(kStartLimit, [&] {
    ended = ended || waitpid(*pid, &status, WNOHANG) == *pid;
    return ended || PathExists(ready);
  });
  if (up && !ended) return process;
  if (!ended) kill(*pid, SIGKILL);
  const absl::StatusOr<std::string> text = ReadFile(process.log);
  const std::vector<std::string> lines = absl::StrSplit(text.value_or(""), '\n', absl::SkipEmpty());
  return absl::UnavailableError(absl::StrCat(name, ended ? " ended at once" : " did not come up", "; its log ", process.log,
                                             lines.empty() ? " is empty" : absl::StrCat(" ends with: ", lines.back())));
}

absl::Status Record(const std::string& dir, const std::vector<LocalProcess>& processes) {
  json record = json::array();
  for (const LocalProcess& p : processes)
    record.push_back({{"name", p.name}, {"pid", p.pid}, {"started", p.started}, {"log", p.log}});
  return WriteFileDurably(RecordPath(dir), record.dump(1));
}

absl::Status StartAll(const LocalOptions& o, std::vector<LocalProcess>* processes, std::string* address) {
  const auto loopback = [](uint32_t port) { return absl::StrCat("127.0.0.1:", port); };
  POLYMOE_ASSIGN_OR_RETURN(processes->emplace_back(),
                           Spawn(o.dir, "server",
                                 {"polymoe-server", "--listen", loopback(o.port), "--metrics", loopback(o.metrics_port), "--store",
                                  absl::StrCat("sqlite:", o.dir, "/polymoe.db")}));
  POLYMOE_ASSIGN_OR_RETURN(const std::string ready, ReadFile(o.dir + "/server.json"));
  *address = json::parse(ready).at("grpc");
  const std::vector<int> cpus = UsableCpus();
  const uint32_t slots = o.workers * o.slots_per_worker;
  const uint32_t threads = o.threads_per_slot > 0 ? o.threads_per_slot : std::max(1u, static_cast<uint32_t>(cpus.size()) / slots);
  // Workers would else choose the same CPUs for their first slots.
  const std::vector<std::vector<int>> shares = ShareCpus(cpus, o.workers, size_t{o.slots_per_worker} * threads);
  for (uint32_t i = 1; i <= o.workers; ++i) {
    const std::string name = absl::StrCat("local-", i);
    POLYMOE_ASSIGN_OR_RETURN(processes->emplace_back(),
                             Spawn(o.dir, name,
                                   {"polymoe-worker", "--server", *address, "--name", name, "--slots",
                                    absl::StrCat(o.slots_per_worker), "--threads-per-slot", absl::StrCat(threads), "--work-dir",
                                    absl::StrCat(o.dir, "/", name), "--checkpoint-root", absl::StrCat(o.dir, "/checkpoints")},
                                   shares.empty() ? std::vector<int>{} : shares[i - 1]));
  }
  return absl::OkStatus();
}

void Stop(const std::vector<LocalProcess>& processes) {
  for (const LocalProcess& p : processes) {
    if (p.running) kill(p.pid, SIGTERM);
  }
  for (const LocalProcess& p : processes) {
    const auto gone = [&] {
      waitpid(p.pid, nullptr, WNOHANG);  // in case it is a child of ours
      return StartTime(p.pid) != p.started;
    };
    if (p.running && !WaitFor(kStopLimit, gone)) kill(p.pid, SIGKILL);
  }
}

}  // namespace

absl::StatusOr<std::string> StartLocalCluster(const LocalOptions& options) {
  POLYMOE_RETURN_IF_ERROR(MakeDirectories(options.dir));
  if (const auto old = LocalProcesses(options.dir); old.ok()) {
    for (const LocalProcess& p : *old) {
      if (p.running) {
        return absl::FailedPreconditionError(absl::StrCat("a cluster runs in ", options.dir, " (", p.name, " is process ", p.pid,
                                                          "); stop it with `polyctl local down` or choose another --dir"));
      }
    }
  }
  std::vector<LocalProcess> processes;
  std::string address;
  absl::Status status = StartAll(options, &processes, &address);
  if (status.ok()) status = Record(options.dir, processes);
  if (!status.ok()) {
    for (LocalProcess& p : processes) p.running = true;
    Stop(processes);
    return status;
  }
  return address;
}

absl::StatusOr<std::vector<LocalProcess>> LocalProcesses(const std::string& dir) {
  const absl::StatusOr<std::string> text = ReadFile(RecordPath(dir));
  if (!text.ok())
    return absl::NotFoundError(absl::StrCat("no local cluster was started in ", dir, "; start one with `polyctl local up`"));
  std::vector<LocalProcess> processes;
  try {  // the JSON library reports through exceptions
    for (const json& entry : json::parse(*text)) {
      LocalProcess p{.name = entry.at("name"), .pid = entry.at("pid"), .started = entry.at("started"), .log = entry.at("log")};
      p.running = p.started != 0 && StartTime(p.pid) == p.started;
      processes.push_back(std::move(p));
    }
  } catch (const json::exception& e) {
    return absl::DataLossError(absl::StrCat(RecordPath(dir), ": ", e.what(), "; remove it"));
  }
  return processes;
}

absl::Status StopLocalCluster(const std::string& dir) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<LocalProcess> processes, LocalProcesses(dir));
  std::vector<LocalProcess> workers, server;
  for (const LocalProcess& p : processes) (p.name == "server" ? server : workers).push_back(p);
  Stop(workers);
  Stop(server);
  return RemoveTree(RecordPath(dir));
}

}  // namespace polymoe::polyctl
