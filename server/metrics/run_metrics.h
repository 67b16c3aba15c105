// The Prometheus view of the jobs: newest values of running jobs and of the last ended ones. A run is a job; its series carry
// run=<job id>, and everything that describes it is on polymoe_run_info alone. docs/metrics.md lists the families.
//
// Thread-safe: the coordinator calls it after each commit, prometheus-cpp scrapes when it likes.
#ifndef POLYMOE_SERVER_METRICS_RUN_METRICS_H_
#define POLYMOE_SERVER_METRICS_RUN_METRICS_H_

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace prometheus {
class Registry;
}

namespace polymoe {

namespace v1 {
class Job;
class StepPoints;
}  // namespace v1

class RunMetrics {
 public:
  // `ended_runs_kept`: series of ended runs stay until that many newer runs have ended, then go.
  RunMetrics(prometheus::Registry& registry, size_t ended_runs_kept);
  ~RunMetrics();

  // The job as it is now.
  void OnJob(const v1::Job& job);
  // Values of the newest attempt, as the trainer named them ("loss", "val_loss/SET", "coef/LAYER/w3", "rank_seconds/R"). Names that
  // point_exports.h does not have are left to the store; so are the loads of single experts, unless the job has metrics.perExpert.
  void OnPoints(const std::string& job, const v1::StepPoints& points);

 private:
  class Families;
  class Run;

  std::mutex mutex_;
  std::unique_ptr<Families> families_;
  std::map<std::string, std::unique_ptr<Run>> runs_;
  std::deque<std::string> ended_;  // oldest first
  const size_t ended_runs_kept_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_RUN_METRICS_H_
