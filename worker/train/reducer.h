// The collectives of a step on parameters: gradients to their owners while the backward pass runs, new values back to everybody.
//
//   forward, backward of the last micro-batch: StartGradients(stage) as each stage is told
//   FinishGradients(): the owned rows of `gradients` are the sums over all ranks; the other rows are nobody's any more
//   (clip, update of the owned rows)
//   ShareParameters()
//
// Each gradient is counted once: a dense tensor's owner has the sum over all ranks, an expert's the sum over its replicas, whose
// parts hold what came from all ranks that share the experts.
#ifndef POLYMOE_WORKER_TRAIN_REDUCER_H_
#define POLYMOE_WORKER_TRAIN_REDUCER_H_

#include "absl/status/status.h"

#include "kernels/ops.h"
#include "worker/parallel/group.h"
#include "worker/train/sharding.h"

namespace polymoe {

class Reducer {
 public:
  // Buffers of the table; `rounded` (Model::rounded(), may be null) is what products read instead of `parameters`. All are kept.
  Reducer(const Sharding& sharding, Group& world, Group& replicas, float* gradients, float* parameters, BF16* rounded)
      : sharding_(sharding),
        world_(world),
        replicas_(replicas),
        gradients_(gradients),
        parameters_(parameters),
        rounded_(rounded) {}

  void StartGradients(int stage);
  absl::Status FinishGradients();

  // Of weights of products, where `rounded` is there, only that: of rows that others own, `parameters` is then an old value that
  // nobody reads.
  absl::Status ShareParameters();

  // Bytes that this rank cannot but send in one step of both.
  int64_t BytesNeeded() const;

 private:
  Group& GroupOf(const Section& section) { return section.experts ? replicas_ : world_; }
  // Of the i-th section: a channel is used again when the operation before is done.
  static int Channel(size_t i) { return static_cast<int>(i % Group::kChannels); }

  const Sharding& sharding_;
  Group& world_;
  Group& replicas_;
  float* const gradients_;
  float* const parameters_;
  BF16* const rounded_;
  absl::Status started_;  // first failure of StartGradients
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_REDUCER_H_
