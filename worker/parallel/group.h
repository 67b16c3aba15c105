// The ranks of one attempt, seen from one of them. Every rank calls the same operations in the same order. One group is used by one
// thread. A rank that is lost or late shows as an error on all others; the group is of no use after any error.
#ifndef POLYMOE_WORKER_PARALLEL_GROUP_H_
#define POLYMOE_WORKER_PARALLEL_GROUP_H_

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace polymoe {

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Element-wise sums over all ranks, to all ranks, the same bits on each of them and in each run.
  virtual absl::Status AllReduceSum(absl::Span<float> values) = 0;
  virtual absl::Status AllReduceSum(absl::Span<double> values) = 0;
};

// A group of one.
class SingleGroup final : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  absl::Status AllReduceSum(absl::Span<float>) override { return absl::OkStatus(); }
  absl::Status AllReduceSum(absl::Span<double>) override { return absl::OkStatus(); }
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_GROUP_H_
