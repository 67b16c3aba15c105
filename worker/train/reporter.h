// What a trainer says while it works: metric points to its daemon, progress to people. All but Start and Alive is for rank 0 alone.
//
// Points come every spec.metrics.everySteps steps, and at validations. Router statistics and coefficients, which are many, come with
// the first and then every 10th of those steps and with the last step: by the step's number, so that a resumed run reports the same
// steps as an undisturbed one. They go as one event a layer, which keeps any event below the daemon's limit of 1 MiB.
#ifndef POLYMOE_WORKER_TRAIN_REPORTER_H_
#define POLYMOE_WORKER_TRAIN_REPORTER_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"

#include "worker/checkpoint/checkpoint.h"
#include "worker/model/parameters.h"
#include "worker/train/progress.h"
#include "worker/train/step.h"
#include "worker/train/step_sums.h"

namespace polymoe {

class Clock;
class EventWriter;
class PointsFile;
struct LayerAnalysis;

namespace v1 {
class JobFile;
class TrainerEvent;
}  // namespace v1

class Reporter {
 public:
  // References are kept; `points` (may be null) gets a copy of every metric point.
  Reporter(const v1::JobFile& file, const Clock& clock, EventWriter& events, bool terminal, PointsFile* points = nullptr);

  // Every rank tells its daemon, and people which part of the model it has; rank 0 what the model is.
  void Start(const TrainerState& state, const ModelConfig& config, int rank, const ParameterTable& table);
  // Whether a step's points come with router statistics and coefficients, which the ranks collect for it.
  bool WantsDetails(uint64_t step, uint64_t tokens) const;
  // `validates`: a validation follows. `coefficients`, of a step that wants details and an activation that has any:
  // [layers, coefficient_sets, coefficient_count].
  void Step(const StepResult& result, bool validates, const StepSums& sums, const ModelConfig& config,
            absl::Span<const float> coefficients);
  void Validation(const TrainerState& state, const std::string& set, double loss, double tokens_per_byte);
  // `layers` of Analyse: an event a layer.
  void Analysis(const TrainerState& state, const std::vector<LayerAnalysis>& layers);
  void Saved(const TrainerState& state, const std::string& path);
  // Every rank, between any two things that can take long: a sign of life for its daemon, at most one a second.
  void Alive(uint64_t step);
  void Done(const TrainerState& state) { progress_.Done(state); }
  void Stopped(const TrainerState& state) { progress_.Stopped(state); }

 private:
  v1::TrainerEvent Points(uint64_t step, uint64_t tokens) const;
  void Write(const v1::TrainerEvent& event);
  void Details(const StepResult& result, const StepSums& sums, const ModelConfig& config, absl::Span<const float> coefficients);

  const v1::JobFile& file_;
  const Clock& clock_;
  EventWriter& events_;
  PointsFile* const points_;
  Progress progress_;
  const double batch_tokens_, flops_per_token_;
  absl::Duration alive_ = -absl::InfiniteDuration();  // when Alive last said so
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_REPORTER_H_
