#include "worker/train/optimizer.h"

#include <cmath>

namespace polymoe {

Optimizer::Optimizer(const AdamWConfig& config, const Sharding& sharding, const Ops<float>& ops)
    : config_(config), ops_(ops), moments_([&](Arena::Cutter& cut) {
        cut(first_, sharding.owned());
        cut(second_, sharding.owned());
      }) {
  for (const OwnedRows& rows : sharding.rows()) {
    if (!runs_.empty() && runs_.back().decay == rows.parameter->decay && runs_.back().offset + runs_.back().size == rows.offset) {
      runs_.back().size += rows.size();
    } else {
      runs_.push_back({rows.offset, rows.owned, rows.size(), rows.parameter->decay});
    }
  }
}

void Optimizer::Step(uint64_t t, double learning_rate, double grad_scale, const float* gradients, float* parameters,
                     BF16* rounded) {
  AdamWParams params{.learning_rate = static_cast<float>(learning_rate),
                     .beta1 = static_cast<float>(config_.beta1),
                     .beta2 = static_cast<float>(config_.beta2),
                     .epsilon = static_cast<float>(config_.epsilon),
                     .grad_scale = static_cast<float>(grad_scale)};
  // Of the betas as the moments see them: 1 - beta2 in fp32 is 0.1 % off for a beta2 of 0.99999, and the first steps with it.
  params.bias_correction1 = static_cast<float>(1 - std::pow(static_cast<double>(params.beta1), static_cast<double>(t)));
  params.bias_correction2 = static_cast<float>(1 - std::pow(static_cast<double>(params.beta2), static_cast<double>(t)));
  for (const Run& run : runs_) {
    params.weight_decay = run.decay ? static_cast<float>(config_.weight_decay) : 0;
    ops_.adamw(run.size, params, gradients + run.offset, parameters + run.offset, first_ + run.owned, second_ + run.owned,
               rounded == nullptr ? nullptr : rounded + run.offset);
  }
}

}  // namespace polymoe
