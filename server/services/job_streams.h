// The two streams of JobService. Both first show what is there and then what each commit brings; a listener that is registered before
// the history is read misses nothing, and what comes twice is shown once.
#ifndef POLYMOE_SERVER_SERVICES_JOB_STREAMS_H_
#define POLYMOE_SERVER_SERVICES_JOB_STREAMS_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "polymoe/v1/job.pb.h"

#include "server/services/stream_writer.h"
#include "server/state/view.h"

namespace polymoe {

class JobWatch final : public StreamWriter<v1::WatchJobsResponse>, public CommitListener {
 public:
  // Jobs by id; all of them when empty.
  explicit JobWatch(std::set<std::string> ids) : ids_(std::move(ids)) {}
  void ShowAll(const View& view);
  void OnCommit(const Committed& committed) override;

 private:
  void Show(const v1::Job& job);

  const std::set<std::string> ids_;
  std::mutex mutex_;
  std::map<std::string, uint64_t> shown_;  // newest revision by job
};

class LogFollow final : public StreamWriter<v1::LogLine>, public CommitListener {
 public:
  LogFollow(const v1::StreamLogsRequest& request, std::string job) : request_(request), job_(std::move(job)) {}
  // `before` is a view from before the rows were read.
  void ShowHistory(const View& before, const absl::StatusOr<std::vector<LogRow>>& rows);
  void OnCommit(const Committed& committed) override;

 private:
  void Show(const LogRow& row);
  bool IsOver(const View& view) const;

  const v1::StreamLogsRequest request_;
  const std::string job_;
  std::mutex mutex_;
  bool history_shown_ = false, over_ = false;
  std::vector<LogRow> early_;           // live lines that came before the history was shown
  std::map<uint32_t, uint64_t> shown_;  // newest line by attempt: a worker that was away still brings lines of an older one
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_JOB_STREAMS_H_
