// Feeds RunMetrics from the coordinator's commits.
#ifndef POLYMOE_SERVER_METRICS_COMMIT_EXPORTER_H_
#define POLYMOE_SERVER_METRICS_COMMIT_EXPORTER_H_

#include <cstddef>

#include "server/metrics/run_metrics.h"
#include "server/state/view.h"

namespace polymoe {

class CommitExporter final : public CommitListener {
 public:
  CommitExporter(prometheus::Registry& registry, size_t ended_runs_kept) : runs_(registry, ended_runs_kept) {}

  // At start: the jobs that the store had.
  void ShowAll(const View& view);
  // Values of a job's newest attempt; older attempts' late points are history only.
  void OnCommit(const Committed& committed) override;

 private:
  RunMetrics runs_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_COMMIT_EXPORTER_H_
