// What readers see: an immutable picture of the cluster after a commit, and the feed of what each commit changed.
#ifndef POLYMOE_SERVER_STATE_VIEW_H_
#define POLYMOE_SERVER_STATE_VIEW_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job.pb.h"
#include "polymoe/v1/worker.pb.h"

#include "server/store/store.h"

namespace polymoe {

absl::Status NoSuchJob(const std::string& id_or_name);  // NOT_FOUND
absl::Status NoSuchAblation(const std::string& id_or_name);

// Since when a pending job has waited: for its first attempt, or since its last one ended. Unix milliseconds.
int64_t WaitingSince(const v1::Job& job);

struct View {
  std::map<std::string, std::shared_ptr<const v1::Job>> jobs;  // by id
  std::map<std::string, std::shared_ptr<const v1::Ablation>> ablations;
  std::vector<v1::Worker> workers;  // by name

  // By id, or by name: the newest job of that name.
  absl::StatusOr<std::shared_ptr<const v1::Job>> Find(const std::string& id_or_name) const;
  absl::StatusOr<std::shared_ptr<const v1::Ablation>> FindAblation(const std::string& id_or_name) const;
};

// How far the runs of an ablation are.
v1::AblationProgress ProgressOf(const v1::Ablation& ablation, const View& view);

struct Committed {
  std::shared_ptr<const View> view;
  std::vector<std::shared_ptr<const v1::Job>> jobs;  // changed
  std::vector<std::shared_ptr<const v1::Ablation>> ablations;
  std::vector<PointRow> points;
  std::vector<LogRow> logs;
};

// Called on the coordinator's thread after each commit: quick, and never back into the coordinator.
class CommitListener {
 public:
  virtual ~CommitListener() = default;
  virtual void OnCommit(const Committed& committed) = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_STATE_VIEW_H_
