// What a trainer says while it works: metric points to the daemon, and a progress line to people.
//
// Names of the values (docs/metrics.md has the units): loss, load_balance_loss, z_loss, grad_norm, learning_rate, tokens_per_second,
// flops_per_second, step_seconds, skipped_steps, val_loss/SET, val_bits_per_byte/SET; every 10th point also, per layer L,
// router_max_over_mean/L, router_entropy/L, router_load/L/EXPERT, coef/L/w3 ... coef/L/bias (coef/L/EXPERT/w3 with a set an expert).
#ifndef POLYMOE_WORKER_TRAIN_REPORTER_H_
#define POLYMOE_WORKER_TRAIN_REPORTER_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"

#include "worker/checkpoint/checkpoint.h"
#include "worker/model/model.h"
#include "worker/train/step.h"

namespace polymoe {

class Clock;
class EventWriter;

namespace v1 {
class JobFile;
class StepPoints;
}  // namespace v1

class Reporter {
 public:
  // `terminal`: rewrite one progress line in place; else print a line every 10 seconds.
  Reporter(const v1::JobFile& file, const Clock& clock, EventWriter& events, bool terminal);

  void Start(const TrainerState& state, const ModelConfig& config);
  void Step(const StepResult& result, const TrainerState& state, const Model& model, const float* parameters);
  void Validation(const std::string& set, double loss, double bits_per_byte, const TrainerState& state);
  void Finish(const TrainerState& state);

 private:
  v1::StepPoints Points(uint64_t step, uint64_t tokens) const;
  void AddRouter(const Model& model, v1::StepPoints& points) const;
  void AddCoefficients(const Model& model, const float* parameters, v1::StepPoints& points) const;
  void Progress(const StepResult& result);
  void EndLine();

  const v1::JobFile& file_;
  const Clock& clock_;
  EventWriter& events_;
  const bool terminal_;
  double flops_per_token_ = 0;
  uint64_t points_ = 0;
  uint64_t start_tokens_ = 0;
  absl::Duration started_, last_progress_ = -absl::InfiniteDuration();
  bool open_line_ = false;
  std::map<std::string, double> validation_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_REPORTER_H_
