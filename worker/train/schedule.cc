#include "worker/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "polymoe/v1/job_spec.pb.h"

namespace polymoe {

double LearningRate(const v1::TrainSpec& train, uint64_t tokens) {
  const double peak = train.learning_rate(), floor = peak * train.min_learning_rate_ratio();
  const double at = static_cast<double>(tokens), warmup = static_cast<double>(train.warmup_tokens());
  const double end = static_cast<double>(train.tokens());
  if (at < warmup) return peak * at / warmup;
  // Share of the falling part that is done.
  const auto done = [&](double start) { return end > start ? std::clamp((at - start) / (end - start), 0.0, 1.0) : 0.0; };
  switch (train.schedule()) {
    case v1::SCHEDULE_KIND_COSINE:
      return floor + (peak - floor) * 0.5 * (1 + std::cos(std::numbers::pi * done(warmup)));
    case v1::SCHEDULE_KIND_WSD:
      return peak - (peak - floor) * done(std::max(warmup, end * (1 - train.decay_ratio())));
    default:
      return peak;
  }
}

}  // namespace polymoe
