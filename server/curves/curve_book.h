// Curves of all jobs, from the store, each computed once per milestone that its job reaches: what CompareAblation and the curve gauge on
// /metrics read. Thread-safe.
#ifndef POLYMOE_SERVER_CURVES_CURVE_BOOK_H_
#define POLYMOE_SERVER_CURVES_CURVE_BOOK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "server/query/curves.h"

namespace polymoe {

class Store;

namespace v1 {
class Job;
}

inline constexpr uint32_t kCurveGrid = 100;  // milestones of a run's token target

struct JobCurves {
  std::vector<uint64_t> milestones;  // kCurveGrid of the job's train.tokens
  RunCurves curves;                  // "loss", "val_loss/SET", "val_bpb/SET"; superseded points are not in them
  double tokens_per_second = 0;      // mean over its steps; 0 before the first
};

class CurveBook {
 public:
  // Keeps the reference.
  explicit CurveBook(Store& store) : store_(store) {}

  // Up to the newest milestone that `job` has reached. Reads the store only if that, a validation or an attempt is new since the last
  // call.
  absl::StatusOr<std::shared_ptr<const JobCurves>> Get(const v1::Job& job);

 private:
  // What a job's curves depend on: the points that are stored may differ only when this does.
  struct Key {
    uint64_t milestones = 0;  // reached
    int attempts = 0;
    bool over = false;
    uint64_t revision = 0;  // of a job that was resumed: its progress may be where it was before, with other points
    std::map<std::string, uint64_t> validation;  // bits of the newest losses: a NaN is equal to itself here

    bool operator==(const Key&) const = default;
  };
  struct Entry {
    Key key;
    std::shared_ptr<const JobCurves> curves;
  };
  static Key KeyOf(const v1::Job& job);

  Store& store_;
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_CURVES_CURVE_BOOK_H_
