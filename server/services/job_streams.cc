#include "server/services/job_streams.h"

#include <algorithm>

#include "common/rpc/status.h"
#include "common/spec/names.h"

namespace polymoe {

void JobWatch::ShowAll(const View& view) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, job] : view.jobs) Show(*job);
}

void JobWatch::OnCommit(const Committed& committed) {
  const std::lock_guard lock(mutex_);
  for (const auto& job : committed.jobs) Show(*job);
}

void JobWatch::Show(const v1::Job& job) {
  if (!ids_.empty() && !ids_.contains(job.id())) return;
  uint64_t& shown = shown_[job.id()];
  if (job.revision() <= shown) return;
  shown = job.revision();
  v1::WatchJobsResponse response;
  *response.mutable_job() = job;
  Push(std::move(response));
}

void LogFollow::ShowHistory(const View& before, const absl::StatusOr<std::vector<LogRow>>& rows) {
  if (!rows.ok()) return End(ToGrpc(rows.status()));
  const std::lock_guard lock(mutex_);
  const size_t skip = request_.tail() > 0 && rows->size() > request_.tail() ? rows->size() - request_.tail() : 0;
  for (size_t i = skip; i < rows->size(); ++i) Show((*rows)[i]);
  history_shown_ = true;
  for (const LogRow& row : early_) Show(row);
  early_.clear();
  if (!request_.follow() || over_ || IsOver(before)) End(grpc::Status::OK);
}

void LogFollow::OnCommit(const Committed& committed) {
  const std::lock_guard lock(mutex_);
  for (const LogRow& row : committed.logs) {
    const bool wanted =
        row.job == job_ && row.rank == request_.rank() && (request_.attempt() == 0 || row.attempt == request_.attempt());
    if (!wanted) continue;
    history_shown_ ? Show(row) : early_.push_back(row);
  }
  over_ = IsOver(*committed.view);
  if (history_shown_ && over_) End(grpc::Status::OK);
}

void LogFollow::Show(const LogRow& row) {
  uint64_t& shown = shown_[row.attempt];
  if (row.number <= shown) return;
  shown = row.number;
  v1::LogLine line;
  line.set_attempt(row.attempt);
  line.set_rank(row.rank);
  line.set_number(row.number);
  line.set_time_ms(row.time_ms);
  line.set_text(row.text);
  Push(std::move(line));
}

bool LogFollow::IsOver(const View& view) const {
  const auto job = view.jobs.find(job_);
  return job == view.jobs.end() || IsFinal(job->second->state());
}

}  // namespace polymoe
