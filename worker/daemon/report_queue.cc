#include "worker/daemon/report_queue.h"

#include <utility>

#include "polymoe/v1/worker.pb.h"

namespace polymoe {

uint64_t ReportQueue::Push(v1::Report report) {
  const uint64_t sequence = ++last_sequence_;
  report.set_sequence(sequence);
  if (report.has_log()) log_lines_.push_back(sequence);
  if (report.has_points()) points_.push_back(sequence);
  auto message = std::make_shared<v1::WorkerMessage>();
  *message->mutable_report() = std::move(report);
  const size_t bytes = message->ByteSizeLong();
  entries_.emplace_hint(entries_.end(), sequence, Entry{std::move(message), bytes});
  bytes_ += bytes;
  DropToLimits();
  return sequence;
}

std::shared_ptr<const v1::WorkerMessage> ReportQueue::NextToSend() {
  const auto next = entries_.lower_bound(next_to_send_);
  if (next == entries_.end()) return nullptr;
  next_to_send_ = next->first + 1;
  return next->second.message;
}

void ReportQueue::Acknowledge(uint64_t sequence) {
  const auto end = entries_.upper_bound(sequence);
  for (auto entry = entries_.begin(); entry != end; entry = entries_.erase(entry)) bytes_ -= entry->second.bytes;
  while (!log_lines_.empty() && log_lines_.front() <= sequence) log_lines_.pop_front();
  while (!points_.empty() && points_.front() <= sequence) points_.pop_front();
}

std::vector<v1::RankRef> ReportQueue::UnacknowledgedExits() const {
  std::vector<v1::RankRef> ranks;
  for (const auto& [sequence, entry] : entries_) {
    if (entry.message->report().has_exited()) ranks.push_back(entry.message->report().rank());
  }
  return ranks;
}

void ReportQueue::DropToLimits() {
  while (entries_.size() > limits_.reports || bytes_ > limits_.bytes) {
    if (DropOldest(&log_lines_)) {
      ++dropped_.log_lines;
    } else if (DropOldest(&points_)) {
      ++dropped_.points;
    } else {
      return;
    }
  }
}

bool ReportQueue::DropOldest(std::deque<uint64_t>* candidates) {
  if (candidates->empty()) return false;
  const auto entry = entries_.find(candidates->front());
  candidates->pop_front();
  bytes_ -= entry->second.bytes;
  entries_.erase(entry);
  return true;
}

}  // namespace polymoe
