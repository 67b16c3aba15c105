// What a trainer says while it works: metric points to its daemon, progress to people. All but Start is for rank 0 alone.
//
// Points come every spec.metrics.everySteps steps, and at validations. Router statistics and coefficients, which are many, come with
// the first and then every 10th of those steps and with the last step: by the step's number, so that a resumed run reports the same
// steps as an undisturbed one. They go as one event a layer, which keeps any event below the daemon's limit of 1 MiB.
#ifndef POLYMOE_WORKER_TRAIN_REPORTER_H_
#define POLYMOE_WORKER_TRAIN_REPORTER_H_

#include <string>

#include "worker/checkpoint/checkpoint.h"
#include "worker/model/model.h"
#include "worker/train/progress.h"
#include "worker/train/step.h"

namespace polymoe {

class Clock;
class EventWriter;

namespace v1 {
class JobFile;
class TrainerEvent;
}  // namespace v1

class Reporter {
 public:
  // References are kept.
  Reporter(const v1::JobFile& file, const Clock& clock, EventWriter& events, bool terminal);

  // Every rank tells its daemon; rank 0 (`leads`) also tells people.
  void Start(const TrainerState& state, const ModelConfig& config, bool leads);
  // `validates`: a validation follows.
  void Step(const StepResult& result, bool validates, const Model& model, const float* parameters);
  void Validation(const TrainerState& state, const std::string& set, double loss, double tokens_per_byte);
  void Saved(const TrainerState& state, const std::string& path);
  void Done(const TrainerState& state) { progress_.Done(state); }
  void Stopped(const TrainerState& state) { progress_.Stopped(state); }

 private:
  v1::TrainerEvent Points(uint64_t step, uint64_t tokens) const;
  void Details(const StepResult& result, const Model& model, const float* parameters);

  const v1::JobFile& file_;
  const Clock& clock_;
  EventWriter& events_;
  Progress progress_;
  const double batch_tokens_, flops_per_token_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_REPORTER_H_
