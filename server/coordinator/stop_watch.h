// The stop rules of ablations at work: hears of new points, reads what a rule needs from the store, and tells the coordinator which run to
// stop. It keeps nothing that a restart could lose, and reads in a thread of its own, so that the coordinator waits for no query.
#ifndef POLYMOE_SERVER_COORDINATOR_STOP_WATCH_H_
#define POLYMOE_SERVER_COORDINATOR_STOP_WATCH_H_

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"

#include "server/state/view.h"

namespace polymoe {

class Coordinator;

class StopWatch final : public CommitListener {
 public:
  // Keeps the reference. Add it to the listeners of the coordinator, then ShowAll.
  explicit StopWatch(Coordinator& coordinator);
  ~StopWatch() override;

  // Looks at every run that may still be stopped: what the last coordinator saw and did not come to.
  void ShowAll(const View& view);
  void OnCommit(const Committed& committed) override;

 private:
  // What has news: jobs whose training loss is to be looked at, and seeds of ablations whose validations are.
  struct News {
    std::set<std::string> losses;                            // by job
    std::set<std::pair<std::string, uint64_t>> validations;  // by ablation and seed
    bool empty() const { return losses.empty() && validations.empty(); }
  };

  void Loop();
  void Wake(News news);
  absl::Status LookAtLoss(const std::string& job);
  absl::Status LookAtValidations(const std::string& ablation, uint64_t seed);
  // No attempt has started since `job` was looked up: the points that were read are those that count. Otherwise there will be news.
  bool IsCurrent(const v1::Job& job) const;

  Coordinator& coordinator_;
  std::map<std::string, uint64_t> hundredths_;  // by job, the newest that was seen; the coordinator's thread alone
  std::mutex mutex_;
  std::condition_variable filled_;
  News news_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_COORDINATOR_STOP_WATCH_H_
