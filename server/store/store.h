// What the coordinator must not forget. One writer (the coordinator's thread, through Commit) and any number of readers at a time.
#ifndef POLYMOE_SERVER_STORE_STORE_H_
#define POLYMOE_SERVER_STORE_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/query/series.h"

namespace polymoe {

// A job as it is kept: the message as JSON, and what finds a repeated submit.
struct JobRow {
  std::string id;
  std::string request_id;
  std::string json;
};

// An ablation likewise; its runs are jobs.
struct AblationRow {
  std::string id;
  std::string request_id;
  std::string json;
};

struct PointRow {
  std::string job, name;
  Point point;
};

struct LogRow {
  std::string job;
  uint32_t attempt = 0, rank = 0;
  uint64_t number = 0;
  int64_t time_ms = 0;
  std::string text;
};

struct StoreBatch {
  std::vector<JobRow> jobs;  // new or changed
  std::vector<AblationRow> ablations;
  std::vector<PointRow> points;  // the same (job, name, attempt, step) again replaces
  std::vector<LogRow> logs;      // the same (job, attempt, rank, number) again changes nothing

  bool empty() const { return jobs.empty() && ablations.empty() && points.empty() && logs.empty(); }
};

class Store {
 public:
  virtual ~Store() = default;

  // All of it or nothing, durable when it returns OK. After an error the store is of no more use: what is on disk is not known, and a
  // second try could lie (PostgreSQL's fsyncgate). The process must end and start from what is there.
  virtual absl::Status Commit(const StoreBatch& batch) = 0;

  virtual absl::StatusOr<std::vector<JobRow>> LoadJobs() = 0;
  virtual absl::StatusOr<std::vector<AblationRow>> LoadAblations() = 0;

  // Raw points of all attempts of a job by metric name; all names when `names` is empty.
  virtual absl::StatusOr<std::map<std::string, std::vector<Point>>> ReadPoints(const std::string& job,
                                                                               const std::vector<std::string>& names) = 0;

  // Log lines of one rank ordered by (attempt, number); `attempt` 0 is all attempts.
  virtual absl::StatusOr<std::vector<LogRow>> ReadLogs(const std::string& job, uint32_t attempt, uint32_t rank) = 0;
};

// "sqlite:PATH": made when it is not there. "postgresql://USER@HOST:PORT/DATABASE?...": libpq's URI of a database that is there; its
// text is valid UTF-8 without NUL, and what is not comes back with U+FFFD in its place. Tables of an older version are brought up to
// date, those of a newer one refused. One process at a time; a second one gets FAILED_PRECONDITION.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& url);

// The same URL with *** for a password.
std::string StoreForLog(const std::string& url);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_STORE_STORE_H_
