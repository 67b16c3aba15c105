// Which waiting job runs where: FIFO with backfill, gangs whole or not at all; an elastic job takes the most ranks that fit. A pure function: no lock, I/O, clock or randomness; the
// same input gives the same plan.
#ifndef POLYMOE_SERVER_SCHEDULER_SCHEDULE_H_
#define POLYMOE_SERVER_SCHEDULER_SCHEDULE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace polymoe {

struct WaitingJob {
  std::string id;
  std::vector<uint32_t> ranks = {1};  // how many it can run on: one number, or of an elastic job all, descending
  int64_t waiting_since_ms = 0;       // submitted, or last attempt ended
  int64_t not_before_ms = 0;          // end of its backoff
};

// A worker that takes ranks: connected, not draining.
struct OpenWorker {
  std::string name;
  uint32_t slots = 0;                // in all
  std::vector<uint32_t> free_slots;  // ascending
};

struct SchedulerInput {
  std::vector<WaitingJob> jobs;     // oldest first
  std::vector<OpenWorker> workers;  // by name
};

struct SchedulerConfig {
  // A job that has waited this long while younger ones passed it gets the next free slots: nobody younger starts before it.
  int64_t max_bypass_ms = 600'000;
};

enum class WaitKind { kNoWorkers, kClusterTooSmall, kSlotsBusy, kBehindOtherJob, kBackoff };

struct SlotRef {
  std::string worker;
  uint32_t slot = 0;
};

struct Start {
  std::string job;
  std::vector<SlotRef> slots;  // one a rank, in the order of the ranks
};

struct Wait {
  std::string job;
  WaitKind kind = WaitKind::kNoWorkers;
  std::string detail;  // one sentence, with the figures and what would help
};

struct Plan {
  std::vector<Start> starts;
  std::vector<Wait> waits;  // every job that does not start
};

Plan Schedule(const SchedulerInput& input, const SchedulerConfig& config, int64_t now_ms);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SCHEDULER_SCHEDULE_H_
