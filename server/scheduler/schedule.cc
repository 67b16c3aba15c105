#include "server/scheduler/schedule.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace polymoe {
namespace {

std::string Slots(uint32_t n) {
  return absl::StrCat(n, n == 1 ? " slot" : " slots");
}

std::string Needs(const WaitingJob& job) {
  const uint32_t most = job.ranks.front(), least = job.ranks.back();
  return most == least ? absl::StrCat("needs ", Slots(most)) : absl::StrCat("needs ", least, " to ", Slots(most));
}

class Pass {
 public:
  Pass(const SchedulerInput& input, const SchedulerConfig& config, int64_t now_ms)
      : config_(config), now_ms_(now_ms), jobs_(input.jobs), workers_(input.workers) {
    for (const OpenWorker& worker : workers_) {
      total_ += worker.slots;
      free_ += worker.free_slots.size();
    }
  }

  Plan Run() {
    for (const WaitingJob& job : jobs_) Consider(job);
    return std::move(plan_);
  }

 private:
  void Consider(const WaitingJob& job) {
    const std::string needs = Needs(job);
    const uint32_t least = job.ranks.back();
    if (job.not_before_ms > now_ms_) {
      Hold(job, WaitKind::kBackoff,
           absl::StrCat("retries in ", (job.not_before_ms - now_ms_ + 999) / 1000, " s after a failed attempt"));
    } else if (workers_.empty()) {
      Hold(job, WaitKind::kNoWorkers, absl::StrCat(needs, ", no worker that takes ranks is connected; start a polymoe-worker"));
    } else if (least > total_) {
      Hold(job, WaitKind::kClusterTooSmall,
           absl::StrCat(needs, ", all connected workers together have ", Slots(total_), "; add workers or lower spec.resources.",
                        least < job.ranks.front() ? "minRanks" : "ranks"));
    } else if (!blocking_job_.empty()) {
      Hold(job, WaitKind::kBehindOtherJob,
           absl::StrCat(needs, "; ", blocking_job_, " has waited longest and gets the next free slots"));
    } else if (least > free_) {
      Hold(job, WaitKind::kSlotsBusy,
           absl::StrCat(needs, ", ", free_, " of ", total_, " connected are free; waits for running jobs to end"));
      if (now_ms_ - job.waiting_since_ms >= config_.max_bypass_ms) blocking_job_ = job.id;
    } else {
      Place(job.id, *std::find_if(job.ranks.begin(), job.ranks.end(), [&](uint32_t ranks) { return ranks <= free_; }));
    }
  }

  void Hold(const WaitingJob& job, WaitKind kind, std::string detail) { plan_.waits.push_back({job.id, kind, std::move(detail)}); }

  // On as few workers as possible: the smallest worker that holds all that is left to place, else the one with most free slots.
  void Place(const std::string& job, uint32_t ranks) {
    Start start{.job = job};
    while (start.slots.size() < ranks) {
      OpenWorker& worker = Pick(ranks - start.slots.size());
      const size_t count = std::min(worker.free_slots.size(), ranks - start.slots.size());
      for (size_t i = 0; i < count; ++i) start.slots.push_back({worker.name, worker.free_slots[i]});
      worker.free_slots.erase(worker.free_slots.begin(), worker.free_slots.begin() + static_cast<std::ptrdiff_t>(count));
    }
    free_ -= ranks;
    plan_.starts.push_back(std::move(start));
  }

  OpenWorker& Pick(size_t left) {
    OpenWorker* best = nullptr;
    for (OpenWorker& worker : workers_) {
      const size_t free = worker.free_slots.size();
      if (free == 0) continue;
      const bool fits = free >= left, best_fits = best != nullptr && best->free_slots.size() >= left;
      const bool better = best == nullptr || (fits && !best_fits) || (fits && best_fits && free < best->free_slots.size()) ||
                          (!fits && !best_fits && free > best->free_slots.size());
      if (better) best = &worker;
    }
    return *best;
  }

  const SchedulerConfig& config_;
  const int64_t now_ms_;
  const std::vector<WaitingJob>& jobs_;
  std::vector<OpenWorker> workers_;
  uint32_t total_ = 0, free_ = 0;
  std::string blocking_job_;
  Plan plan_;
};

}  // namespace

Plan Schedule(const SchedulerInput& input, const SchedulerConfig& config, int64_t now_ms) {
  return Pass(input, config, now_ms).Run();
}

}  // namespace polymoe
