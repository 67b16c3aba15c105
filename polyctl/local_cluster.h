// A coordinator and workers on this machine, as processes that outlive polyctl. What runs is recorded in DIR/cluster.json, with the
// start time of each process, so that a process id that was used again is never touched.
#ifndef POLYMOE_POLYCTL_LOCAL_CLUSTER_H_
#define POLYMOE_POLYCTL_LOCAL_CLUSTER_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace polymoe::polyctl {

struct LocalOptions {
  std::string dir;
  uint32_t workers = 1, slots_per_worker = 1;
  uint32_t threads_per_slot = 0;  // 0: CPUs shared out evenly
  uint32_t port = 7070, metrics_port = 9464;
};

struct LocalProcess {
  std::string name;  // "server", "local-1", ...
  pid_t pid = 0;
  uint64_t started = 0;  // clock ticks since boot, from /proc
  std::string log;
  bool running = false;
};

// Starts what does not run and returns the coordinator's address. FAILED_PRECONDITION when a cluster runs in DIR already.
absl::StatusOr<std::string> StartLocalCluster(const LocalOptions& options);

// What was started in DIR; NOT_FOUND when nothing was.
absl::StatusOr<std::vector<LocalProcess>> LocalProcesses(const std::string& dir);

// Workers first: SIGTERM, and SIGKILL after 40 seconds (trainers save a checkpoint meanwhile).
absl::Status StopLocalCluster(const std::string& dir);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_LOCAL_CLUSTER_H_
