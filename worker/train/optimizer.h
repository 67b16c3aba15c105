// AdamW over the rows of the parameter table that this rank owns (worker/train/sharding.h). PolyCom coefficients are not decayed, everything else is (arXiv 2411.03884's MoE recipe).
#ifndef POLYMOE_WORKER_TRAIN_OPTIMIZER_H_
#define POLYMOE_WORKER_TRAIN_OPTIMIZER_H_

#include <cstdint>
#include <vector>

#include "kernels/ops.h"
#include "worker/model/arena.h"
#include "worker/train/sharding.h"

namespace polymoe {

struct AdamWConfig {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
};

class Optimizer {
 public:
  Optimizer(const AdamWConfig& config, const Sharding& sharding, const Ops<float>& ops);

  // Update number t (from 1). `grad_scale` multiplies the gradients first. `rounded` (Model::rounded(), may be
  // null) receives the new parameters too. All buffers are [table.total()]; only the owned rows are read and written.
  void Step(uint64_t t, double learning_rate, double grad_scale, const float* gradients, float* parameters, BF16* rounded);

  // First and second moments, [sharding.owned()].
  float* first() { return first_; }
  float* second() { return second_; }

 private:
  // Neighbouring rows of one decay group, updated in one call.
  struct Run {
    int64_t offset, owned, size;
    bool decay;
  };

  const AdamWConfig config_;
  const Ops<float>& ops_;
  std::vector<Run> runs_;
  float *first_ = nullptr, *second_ = nullptr;
  const Arena moments_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_OPTIMIZER_H_
