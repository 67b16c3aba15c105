// The model's way to the experts of other ranks, over a group.
#ifndef POLYMOE_WORKER_TRAIN_GROUP_EXCHANGE_H_
#define POLYMOE_WORKER_TRAIN_GROUP_EXCHANGE_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "common/clock.h"
#include "worker/model/exchange.h"
#include "worker/parallel/group.h"

namespace polymoe {

class GroupExchange final : public ExpertExchange {
 public:
  // Of the ranks that share the experts; kept. Nobody else uses its channels below kChannels.
  GroupExchange(Group& group, const Clock& clock) : group_(group), clock_(clock) {}

  int ranks() const override { return group_.size(); }
  int rank() const override { return group_.rank(); }

  void Start(int channel, int64_t row_bytes, const void* send, const int64_t* send_counts, void* receive,
             const int64_t* receive_counts) override {
    const size_t n = group_.size();
    if (status_.ok()) status_ = group_.StartAllToAllV(channel, row_bytes, send, {send_counts, n}, receive, {receive_counts, n});
  }
  bool Finish(int channel) override {
    const absl::Duration start = clock_.Monotonic();
    if (status_.ok()) status_ = group_.Finish(channel);
    waited_ += clock_.Monotonic() - start;
    return status_.ok();
  }

  // How long Finish has waited since the last call.
  absl::Duration TakeWaited() { return std::exchange(waited_, absl::ZeroDuration()); }

  // The first failure.
  const absl::Status& status() const { return status_; }

 private:
  Group& group_;
  const Clock& clock_;
  absl::Status status_;
  absl::Duration waited_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_GROUP_EXCHANGE_H_
