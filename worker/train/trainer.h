// One rank of one job, from the job file to the last checkpoint.
//
// The state of training is (parameters, moments, TrainerState): the trainer holds it, a checkpoint is a copy of it, and the same state
// continues with the same bits on the same number of ranks and threads.
#ifndef POLYMOE_WORKER_TRAIN_TRAINER_H_
#define POLYMOE_WORKER_TRAIN_TRAINER_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "worker/checkpoint/checkpoint.h"
#include "worker/model/model.h"
#include "worker/parallel/group.h"
#include "worker/train/optimizer.h"
#include "worker/train/setup.h"
#include "worker/train/step.h"

namespace polymoe {

class Clock;
class EventWriter;
class Reporter;

namespace v1 {
class JobFile;
}

struct TrainerOptions {
  std::string checkpoint_dir;
  // "none": from scratch. "auto": from the newest good checkpoint in checkpoint_dir, if any. Else a checkpoint's path; when that one is
  // damaged, an older one beside it.
  std::string resume = "auto";
};

enum class Outcome { kDone, kStopped };

class Trainer {
 public:
  // Opens and checks the data, takes all memory, initialises or resumes. `file` is complete (CompleteJobFile). References are kept.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const v1::JobFile& file, const TrainerOptions& options, Group& group,
                                                         const Clock& clock, EventWriter& events, Reporter& reporter);
  ~Trainer();

  // Trains to the end of the token budget, or until `stop` is set (then the step in progress is finished and saved).
  absl::StatusOr<Outcome> Run(const std::atomic<bool>& stop);

  const TrainerState& state() const { return state_; }
  const float* parameters() const { return parameters_.data(); }

 private:
  Trainer(const v1::JobFile& file, const TrainerOptions& options, Group& group, const Clock& clock, EventWriter& events,
          Reporter& reporter, TrainingData data);

  absl::Status Resume();
  absl::Status LoadFrom(const std::string& path);
  absl::StatusOr<StepResult> Step();
  absl::Status AfterStep(const StepResult& result, bool last);
  absl::Status Validate();
  absl::Status Save();
  std::vector<TensorRef> Tensors();
  // Whether a multiple of `every` tokens lies in the step that ended at state_.tokens.
  bool Due(uint64_t every) const;
  bool leads() const { return group_.rank() == 0; }

  const v1::JobFile& file_;
  const TrainerOptions options_;
  Group& group_;
  const Clock& clock_;
  EventWriter& events_;
  Reporter& reporter_;
  const TrainingData data_;

  Model model_;
  Optimizer optimizer_;
  std::vector<float> parameters_, gradients_;
  std::vector<int32_t> tokens_, targets_;  // one micro-batch
  TrainerState state_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_TRAINER_H_
