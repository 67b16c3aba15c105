// The stream of AblationService: first the ablation with all its jobs, then each commit that changes one of them.
#ifndef POLYMOE_SERVER_SERVICES_ABLATION_WATCH_H_
#define POLYMOE_SERVER_SERVICES_ABLATION_WATCH_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "polymoe/v1/ablation.pb.h"

#include "server/services/stream_writer.h"
#include "server/state/view.h"

namespace polymoe {

// As answers have it.
inline v1::Ablation WithProgress(v1::Ablation ablation, const View& view) {
  *ablation.mutable_progress() = ProgressOf(ablation, view);
  return ablation;
}

class AblationWatch final : public StreamWriter<v1::WatchAblationResponse>, public CommitListener {
 public:
  explicit AblationWatch(std::string id) : id_(std::move(id)) {}
  void ShowAll(const View& view);
  void OnCommit(const Committed& committed) override;

 private:
  // Those of `jobs` that are runs of it and newer than what was shown. Ends the stream when the ablation is final.
  void Show(const View& view, const std::vector<std::shared_ptr<const v1::Job>>& jobs);

  const std::string id_;
  std::mutex mutex_;
  uint64_t shown_ablation_ = 0;                 // revisions
  std::map<std::string, uint64_t> shown_jobs_;  // by job
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_ABLATION_WATCH_H_
