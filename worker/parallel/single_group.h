// A group of one.
#ifndef POLYMOE_WORKER_PARALLEL_SINGLE_GROUP_H_
#define POLYMOE_WORKER_PARALLEL_SINGLE_GROUP_H_

#include <cstring>

#include "worker/parallel/group.h"

namespace polymoe {

class SingleGroup : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  absl::Status AllReduceSum(absl::Span<float>) override { return absl::OkStatus(); }
  absl::Status AllReduceSum(absl::Span<double>) override { return absl::OkStatus(); }
  absl::Status Broadcast(absl::Span<char>, int) override { return absl::OkStatus(); }
  absl::Status Barrier() override { return absl::OkStatus(); }
  absl::Status StartReduceScatterSum(int, float*, absl::Span<const int64_t>) override { return absl::OkStatus(); }
  absl::Status StartAllGather(int, void*, absl::Span<const int64_t>, int64_t) override { return absl::OkStatus(); }
  absl::Status StartAllToAllV(int, int64_t row_bytes, const void* send, absl::Span<const int64_t> send_counts, void* receive,
                              absl::Span<const int64_t>) override {
    // Without rows there may be no memory either.
    if (send_counts[0] > 0) std::memcpy(receive, send, static_cast<size_t>(row_bytes * send_counts[0]));
    return absl::OkStatus();
  }
  absl::Status Finish(int) override { return absl::OkStatus(); }
  void Abort() override {}
  uint64_t bytes_sent() const override { return 0; }
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_SINGLE_GROUP_H_
