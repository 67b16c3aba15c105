// A store whose commits a test holds up and ends as it likes.
#ifndef POLYMOE_TESTS_SERVER_COORDINATOR_HELD_STORE_H_
#define POLYMOE_TESTS_SERVER_COORDINATOR_HELD_STORE_H_

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "server/store/store.h"
#include "tests/fakes/blocking_queue.h"
#include "tests/server/fake_store.h"

namespace polymoe {

class HeldStore final : public Store {
 public:
  absl::Status Commit(const StoreBatch& batch) override {
    if (hold_) {
      held_.Push(batch);
      if (absl::Status result = results_.Pop(); !result.ok()) return result;
    }
    return kept_.Commit(batch);
  }
  absl::StatusOr<std::vector<JobRow>> LoadJobs() override { return kept_.LoadJobs(); }
  absl::StatusOr<std::vector<AblationRow>> LoadAblations() override { return kept_.LoadAblations(); }
  absl::StatusOr<std::map<std::string, std::vector<Point>>> ReadPoints(const std::string& job,
                                                                       const std::vector<std::string>& names) override {
    return kept_.ReadPoints(job, names);
  }
  absl::StatusOr<std::vector<LogRow>> ReadLogs(const std::string& job, uint32_t attempt, uint32_t rank) override {
    return kept_.ReadLogs(job, attempt, rank);
  }

  // From the next commit on each waits until the test has seen it and says how it ends.
  void HoldCommits() { hold_ = true; }
  StoreBatch NextHeld() { return held_.Pop(); }
  // Later ones pass.
  void EndHeld(const absl::Status& result) {
    hold_ = false;
    results_.Push(result);
  }

 private:
  FakeStore kept_;
  std::atomic<bool> hold_ = false;
  BlockingQueue<StoreBatch> held_;
  BlockingQueue<absl::Status> results_;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_SERVER_COORDINATOR_HELD_STORE_H_
