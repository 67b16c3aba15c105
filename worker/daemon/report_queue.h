// Reports of one daemon that the coordinator has not acknowledged yet, in order. Pure: no lock, no I/O, no clock (outbox.h adds the
// lock).
//
// Promise: exits, checkpoints and starts leave the queue only by an acknowledgement. Metric points and log lines do too, until a limit
// is passed: then the oldest waiting log lines go, and when there are none, the oldest points (log lines are on the node's disk too,
// points are nowhere else). A dropped report leaves a gap in the numbers; order is never changed.
#ifndef POLYMOE_WORKER_DAEMON_REPORT_QUEUE_H_
#define POLYMOE_WORKER_DAEMON_REPORT_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

namespace polymoe {

namespace v1 {
class RankRef;
class Report;
class WorkerMessage;
}  // namespace v1

class ReportQueue {
 public:
  struct Limits {
    size_t reports = 1'000'000;
    size_t bytes = size_t{256} << 20;  // serialized size
  };
  struct Dropped {
    uint64_t log_lines = 0;
    uint64_t points = 0;
  };

  explicit ReportQueue(const Limits& limits) : limits_(limits) {}

  // Gives the report the next number (from 1) and keeps it. The number is returned.
  uint64_t Push(v1::Report report);

  // The oldest report that was not sent on this stream; null when there is none. It stays in the queue.
  std::shared_ptr<const v1::WorkerMessage> NextToSend();
  bool HasUnsent() const { return entries_.lower_bound(next_to_send_) != entries_.end(); }

  // A new stream: everything that waits is to be sent again, from the oldest.
  void Rewind() { next_to_send_ = 0; }

  // All reports up to `sequence` are durable at the coordinator.
  void Acknowledge(uint64_t sequence);

  // Ranks whose end is reported and not acknowledged.
  std::vector<v1::RankRef> UnacknowledgedExits() const;

  size_t size() const { return entries_.size(); }
  size_t bytes() const { return bytes_; }
  const Dropped& dropped() const { return dropped_; }

 private:
  struct Entry {
    std::shared_ptr<const v1::WorkerMessage> message;
    size_t bytes;
  };

  void DropToLimits();
  // Erases the oldest of `candidates`; false when there is none.
  bool DropOldest(std::deque<uint64_t>* candidates);

  const Limits limits_;
  std::map<uint64_t, Entry> entries_;  // by number
  std::deque<uint64_t> log_lines_;     // numbers of those that may be dropped, ascending
  std::deque<uint64_t> points_;
  uint64_t last_sequence_ = 0;
  uint64_t next_to_send_ = 0;
  size_t bytes_ = 0;
  Dropped dropped_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_REPORT_QUEUE_H_
