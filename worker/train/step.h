// What one optimiser step did.
#ifndef POLYMOE_WORKER_TRAIN_STEP_H_
#define POLYMOE_WORKER_TRAIN_STEP_H_

#include <cstdint>

namespace polymoe {

struct StepResult {
  uint64_t step = 0;        // its number, from 1
  uint64_t tokens = 0;      // consumed up to and with it
  double loss = 0;          // mean cross entropy of the global batch, nats
  double load_balance = 0;  // unweighted router losses
  double z = 0;
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  double seconds = 0;           // of the step
  double save_seconds = 0;      // that training stood still before it, for the checkpoint of the step before; 0: none
  double micro_batches = 0;     // of all ranks
  double bytes_sent = 0;        // between ranks, by all of them
  double bytes_needed = 0;      // the least that this layout could do with
  bool skipped = false;         // loss or gradient was not finite
  uint64_t skipped_steps = 0;   // so far, with this one
  bool stop_requested = false;  // of any rank
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_STEP_H_
