// The learning rate as a function of the tokens trained on. Pure.
#ifndef POLYMOE_WORKER_TRAIN_SCHEDULE_H_
#define POLYMOE_WORKER_TRAIN_SCHEDULE_H_

#include <cstdint>

namespace polymoe {

namespace v1 {
class TrainSpec;
}

// At the point of training where `tokens` have been seen. A step takes the rate of its middle token, so that the first one moves too
// and the schedule does not depend on the batch size. Linear warm-up from 0 over warmup_tokens (its end is the peak), then
//   constant  the peak
//   cosine    half a cosine down to min_learning_rate_ratio * peak at train.tokens
//   wsd       the peak, then a straight line down to the same floor over the last decay_ratio of train.tokens
double LearningRate(const v1::TrainSpec& train, uint64_t tokens);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_SCHEDULE_H_
