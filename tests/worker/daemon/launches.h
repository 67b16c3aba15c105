// Launch messages for the fake trainer, and folders to run them in.
#ifndef POLYMOE_TESTS_WORKER_DAEMON_LAUNCHES_H_
#define POLYMOE_TESTS_WORKER_DAEMON_LAUNCHES_H_

#include <cstdint>
#include <string>

#include "polymoe/v1/worker.pb.h"

namespace polymoe {

inline std::string FakeTrainer() {
  return std::string(POLYMOE_BIN_DIR) + "/../tests/fake_trainer";
}

// `ranks` ranks of one attempt, in slots 0, 1, ..., that all run `script` (see fake_trainer.cc).
inline v1::Launch MakeLaunch(const std::string& job, uint32_t attempt, const std::string& script, uint32_t ranks = 1) {
  v1::Launch launch;
  launch.set_job(job);
  launch.set_attempt(attempt);
  launch.set_world_size(ranks);
  launch.mutable_file()->set_api_version("polymoe/v1");
  launch.mutable_file()->set_kind("Job");
  (*launch.mutable_file()->mutable_metadata()->mutable_labels())["script"] = script;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    v1::Placement* placement = launch.add_placements();
    placement->set_rank(rank);
    placement->set_worker("w");
    placement->set_slot(rank);
  }
  return launch;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_DAEMON_LAUNCHES_H_
