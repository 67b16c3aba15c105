// Evaluations by all ranks together: the loss on held-out data.
#ifndef POLYMOE_WORKER_TRAIN_VALIDATION_H_
#define POLYMOE_WORKER_TRAIN_VALIDATION_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "worker/data/dataset.h"
#include "worker/model/model.h"
#include "worker/parallel/group.h"

namespace polymoe {

// Of a split: `count` windows, each `stride` windows behind the one before.
struct Windows {
  const Dataset& dataset;
  uint64_t count = 0, stride = 1;
};

// One micro-batch of the caller: [sequences, length] each.
struct BatchBuffers {
  uint32_t sequences, length;
  absl::Span<int32_t> tokens, targets;
};

// Mean cross entropy over the windows, nats a token, on every rank. The ranks take the micro-batches in turn. `alive` is called
// between them. `observer` (null: none) sees this rank's passes.
absl::StatusOr<double> ValidationLoss(const Windows& windows, Model& model, const float* parameters, Group& world,
                                      const BatchBuffers& buffers, const std::function<void()>& alive,
                                      LayerObserver* observer = nullptr);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_VALIDATION_H_
