#include "worker/daemon/outbox.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/worker.pb.h"

#include "common/log.h"
#include "worker/daemon/daemon_metrics.h"

namespace polymoe {

void Outbox::Add(v1::Report report) {
  bool first_drop;
  {
    const std::lock_guard lock(mutex_);
    const bool dropped_before = counted_.log_lines + counted_.points > 0;
    queue_.Push(std::move(report));
    UpdateMetrics();
    first_drop = !dropped_before && counted_.log_lines + counted_.points > 0;
  }
  changed_.notify_all();
  // Once a daemon: the counter says how many.
  if (first_drop) {
    LogWarning("too many reports wait for the coordinator; the oldest log lines and metric points are being dropped",
               {{"metric", "polymoe_worker_reports_dropped_total"}});
  }
}

void Outbox::Acknowledge(uint64_t sequence) {
  {
    const std::lock_guard lock(mutex_);
    queue_.Acknowledge(sequence);
    UpdateMetrics();
  }
  changed_.notify_all();
}

void Outbox::Rewind() {
  const std::lock_guard lock(mutex_);
  queue_.Rewind();
  interrupted_ = false;
}

std::vector<v1::RankRef> Outbox::UnacknowledgedExits() const {
  const std::lock_guard lock(mutex_);
  return queue_.UnacknowledgedExits();
}

std::shared_ptr<const v1::WorkerMessage> Outbox::Next(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [this] { return interrupted_ || queue_.HasUnsent(); });
  if (std::exchange(interrupted_, false)) return nullptr;
  return queue_.NextToSend();
}

void Outbox::Interrupt() {
  {
    const std::lock_guard lock(mutex_);
    interrupted_ = true;
  }
  changed_.notify_all();
}

bool Outbox::WaitUntilEmpty(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [this] { return queue_.size() == 0; });
}

void Outbox::UpdateMetrics() {
  metrics_->reports_waiting.Set(static_cast<double>(queue_.size()));
  metrics_->reports_waiting_bytes.Set(static_cast<double>(queue_.bytes()));
  metrics_->log_lines_dropped.Increment(static_cast<double>(queue_.dropped().log_lines - counted_.log_lines));
  metrics_->points_dropped.Increment(static_cast<double>(queue_.dropped().points - counted_.points));
  counted_ = queue_.dropped();
}

}  // namespace polymoe
