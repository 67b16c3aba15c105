// The loss on held-out data, by all ranks together.
#ifndef POLYMOE_WORKER_TRAIN_VALIDATION_H_
#define POLYMOE_WORKER_TRAIN_VALIDATION_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "worker/model/model.h"
#include "worker/parallel/group.h"
#include "worker/train/setup.h"

namespace polymoe {

// One micro-batch of the caller: [sequences, length] each.
struct BatchBuffers {
  uint32_t sequences, length;
  absl::Span<int32_t> tokens, targets;
};

// Mean cross entropy over the set's windows, nats a token, on every rank. The ranks take the micro-batches in turn. `alive` is called
// between them.
absl::StatusOr<double> ValidationLoss(const ValidationData& set, Model& model, const float* parameters, Group& world,
                                      const BatchBuffers& buffers, const std::function<void()>& alive);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_VALIDATION_H_
