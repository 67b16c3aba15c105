// A store in memory: keeps what was committed, in the order and with the rules of store.h. Thread-safe.
#ifndef POLYMOE_TESTS_SERVER_FAKE_STORE_H_
#define POLYMOE_TESTS_SERVER_FAKE_STORE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "server/store/store.h"

namespace polymoe {

class FakeStore final : public Store {
 public:
  absl::Status Commit(const StoreBatch& batch) override {
    const std::lock_guard lock(mutex_);
    for (const JobRow& job : batch.jobs) jobs_[job.id] = job;
    for (const AblationRow& ablation : batch.ablations) ablations_[ablation.id] = ablation;
    for (const PointRow& p : batch.points) points_[p.job][p.name][{p.point.attempt, p.point.step}] = p.point;
    for (const LogRow& row : batch.logs) logs_.emplace(std::make_tuple(row.job, row.rank, row.attempt, row.number), row);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<JobRow>> LoadJobs() override {
    const std::lock_guard lock(mutex_);
    std::vector<JobRow> rows;
    for (const auto& [id, row] : jobs_) rows.push_back(row);
    return rows;
  }

  absl::StatusOr<std::vector<AblationRow>> LoadAblations() override {
    const std::lock_guard lock(mutex_);
    std::vector<AblationRow> rows;
    for (const auto& [id, row] : ablations_) rows.push_back(row);
    return rows;
  }

  absl::StatusOr<std::map<std::string, std::vector<Point>>> ReadPoints(const std::string& job,
                                                                       const std::vector<std::string>& names) override {
    const std::lock_guard lock(mutex_);
    std::map<std::string, std::vector<Point>> series;
    for (const auto& [name, points] : points_[job]) {
      if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) continue;
      for (const auto& [step, point] : points) series[name].push_back(point);
    }
    return series;
  }

  absl::StatusOr<std::vector<LogRow>> ReadLogs(const std::string& job, uint32_t attempt, uint32_t rank) override {
    std::vector<LogRow> rows;
    std::function<void()> after;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [key, row] : logs_) {
        if (row.job == job && row.rank == rank && (attempt == 0 || row.attempt == attempt)) rows.push_back(row);
      }
      after = std::exchange(after_read_logs_, nullptr);
    }
    if (after) after();
    return rows;
  }

  // Called once, when log rows were read and are not given back yet: what happens meanwhile.
  void set_after_read_logs(std::function<void()> after) {
    const std::lock_guard lock(mutex_);
    after_read_logs_ = std::move(after);
  }

 private:
  std::mutex mutex_;
  std::function<void()> after_read_logs_;
  std::map<std::string, JobRow> jobs_;
  std::map<std::string, AblationRow> ablations_;
  std::map<std::string, std::map<std::string, std::map<std::pair<uint32_t, uint64_t>, Point>>> points_;
  std::map<std::tuple<std::string, uint32_t, uint32_t, uint64_t>, LogRow> logs_;  // job, rank, attempt, number
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_SERVER_FAKE_STORE_H_
