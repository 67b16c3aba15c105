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

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/storage.h"
#include "worker/checkpoint/writer.h"
#include "worker/data/loader.h"
#include "worker/model/arena.h"
#include "worker/model/model.h"
#include "worker/parallel/group.h"
#include "worker/train/optimizer.h"
#include "worker/train/setup.h"
#include "worker/train/step.h"

namespace polymoe {

class Clock;
class OpProfile;
class Reporter;

namespace v1 {
class JobFile;
}

struct TrainerOptions {
  std::string checkpoint_dir;    // a folder or s3://BUCKET/PREFIX
  std::string resume = "auto";   // "none", "auto" or a checkpoint's path: Resume in resume.h
  uint32_t attempt = 1;          // of the job; newer attempts have larger numbers
  OpProfile* profile = nullptr;  // records the operations of all steps but the first
};

enum class Outcome { kDone, kStopped };

class Trainer {
 public:
  // Opens and checks the data, takes all memory, initialises or resumes; the ranks start from the same state, or not at all. A
  // checkpoint of the other precision will do: it holds the fp32 weights. `file` is complete (CompleteJobFile). References are kept.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const v1::JobFile& file, const TrainerOptions& options, Group& group,
                                                         const Clock& clock, Reporter& reporter);
  ~Trainer();

  // Trains to the end of the token budget, or until `stop` is set on any rank (then all finish that step, rank 0 saves it, and all
  // leave). An error of rank 0 at a checkpoint is an error of all.
  absl::StatusOr<Outcome> Run(const std::atomic<bool>& stop);

  const TrainerState& state() const { return state_; }
  // Steps that options.profile recorded, and their time.
  int profiled_steps() const { return profiled_steps_; }
  double profiled_seconds() const { return profiled_seconds_; }
  const float* parameters() const { return parameters_; }

 private:
  Trainer(const v1::JobFile& file, const TrainerOptions& options, Group& group, const Clock& clock, Reporter& reporter,
          TrainingData data, std::unique_ptr<Storage> storage);

  absl::Status ResumeTogether();
  absl::StatusOr<StepResult> Step(const std::atomic<bool>& stop);
  void Update(StepResult& result);
  absl::Status AfterStep(const StepResult& result);
  void Validate();
  absl::Status Save();
  // Waits for all ranks. An error of any of them is an error of all: `mine`, or one that says that it was another's.
  absl::Status Agree(const absl::Status& mine);
  std::vector<TensorSlab> Slabs();
  // Whether a multiple of `every` tokens lies in the step that ended at state_.tokens.
  absl::Status CheckFinite(const StepResult& result) const;
  bool Due(uint64_t every) const;
  bool done() const;
  bool leads() const { return group_.rank() == 0; }

  const v1::JobFile& file_;
  const TrainerOptions options_;
  Group& group_;
  const Clock& clock_;
  Reporter& reporter_;
  const TrainingData data_;
  const BatchLoader loader_;  // reads data_.train

  Model model_;
  const Ops<float>& parameter_ops_;
  Optimizer optimizer_;
  float *parameters_ = nullptr, *gradients_ = nullptr;  // fp32, [model_.table().total()]
  const Arena memory_;                                  // of both
  std::vector<int32_t> tokens_, targets_;               // one micro-batch
  TrainerState state_;
  const std::unique_ptr<Storage> storage_;  // of checkpoints
  CheckpointWriter writer_;
  int skipped_in_a_row_ = 0;
  int profiled_steps_ = 0;
  double profiled_seconds_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_TRAINER_H_
