// Who looks inside an evaluation. Training has no observer, and what one is shown is not kept for it.
#ifndef POLYMOE_WORKER_MODEL_OBSERVER_H_
#define POLYMOE_WORKER_MODEL_OBSERVER_H_

#include <cstdint>

#include "kernels/bf16.h"

namespace polymoe {

// Called layer by layer, from the first to the last; of a layer, once for each chunk that the experts computed, then once for its output.
class LayerObserver {
 public:
  virtual ~LayerObserver() = default;

  // [rows, F] behind the activation and before the routing weight, in the model's element type: of the experts that this rank holds (the
  // rows of other ranks' tokens included, so that over all ranks each row is seen once) or, when dense, of its tokens. Valid during the
  // call.
  virtual void Activation(int layer, int64_t rows, const float* values) = 0;
  virtual void Activation(int layer, int64_t rows, const BF16* values) = 0;

  // [tokens, D] the residual stream behind the layer, of this rank's tokens. Valid until the model's next pass.
  virtual void Hidden(int layer, int tokens, const float* states) = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_OBSERVER_H_
