// A real cluster on loopback for end-to-end tests: the built programs as child processes, in a folder of their own, on free ports.
// Everything dies with the test (PR_SET_PDEATHSIG), and is ended by process id.
#ifndef POLYMOE_TESTS_E2E_CLUSTER_H_
#define POLYMOE_TESTS_E2E_CLUSTER_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "tests/fakes/program.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {

class Cluster {
 public:
  // Lease of the coordinator; short, so that a lost worker is noticed within the test.
  // `store` is a --store; without, SQLite in its folder.
  explicit Cluster(absl::Duration lease = absl::Seconds(3), const std::string& store = "");
  ~Cluster();

  void StartServer();
  // With more flags, and behind another program that executes it (`nsenter ...`).
  void StartWorker(const std::string& name, int slots = 1, const std::vector<std::string>& flags = {},
                   const std::vector<std::string>& behind = {});
  // SIGKILL, reaped when it returns.
  void Kill(const std::string& program);  // "server" or a worker's name
  // SIGTERM, waits for the exit and gives its code.
  int Terminate(const std::string& program);

  // polyctl with these arguments against this cluster.
  Output Polyctl(std::vector<std::string> arguments) const;
  // A field of `polyctl get JOB -o json` by its JSON pointer, "" when absent.
  std::string JobField(const std::string& job, const std::string& pointer) const;
  bool WaitForState(const std::string& job, const std::string& state) const;
  // Everything on a program's /metrics.
  std::string Scrape(const std::string& program = "server") const;

  // Process ids of the trainers that run now.
  std::vector<pid_t> Trainers() const;

  const std::string& dir() const { return dir_.path(); }
  const std::string& server_address() const { return server_address_; }
  // End of a program's log, for failure messages.
  std::string LogTail(const std::string& program) const;

 private:
  void Start(const std::string& name, std::vector<std::string> argv, const std::vector<std::string>& behind = {});
  std::string Address(const std::string& name, const std::string& key) const;

  TempDir dir_;
  absl::Duration lease_;
  std::string store_;
  std::map<std::string, pid_t> running_;
  std::string server_address_ = "127.0.0.1:0";  // fixed after the first start, so that workers find a restarted server
  std::string metrics_address_ = "127.0.0.1:0";
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_E2E_CLUSTER_H_
