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
#include "worker/data/loader.h"
#include "worker/model/arena.h"
#include "worker/model/model.h"
#include "worker/parallel/layout.h"
#include "worker/train/group_exchange.h"
#include "worker/train/optimizer.h"
#include "worker/train/reducer.h"
#include "worker/train/saver.h"
#include "worker/train/setup.h"
#include "worker/train/sharding.h"
#include "worker/train/step.h"
#include "worker/train/step_sums.h"
#include "worker/train/validation.h"

namespace polymoe {

class Clock;
class OpProfile;
class Reporter;

namespace v1 {
class JobFile;
}

struct TrainerOptions {
  std::string checkpoint_dir;    // a folder or s3://BUCKET/PREFIX
  uint32_t attempt = 1;          // of the job; newer attempts have larger numbers
  std::string resume = "auto";   // "none", "auto" or a checkpoint's path: Resume in resume.h
  int exchange_chunks = 2;       // ModelLimits::chunks
  OpProfile* profile = nullptr;  // records the operations of all steps but the first
};

enum class Outcome { kDone, kStopped };

class Trainer {
 public:
  // Opens and checks the data, takes all memory, initialises or resumes; the ranks start from the same state, or not at all. A
  // checkpoint of the other precision will do: it holds the fp32 weights. `file` is complete (CompleteJobFile). References are kept.
  // Its spec.resources.ranks is the number of ranks that there are.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const v1::JobFile& file, const TrainerOptions& options, Ranks& ranks,
                                                         const Clock& clock, Reporter& reporter);
  ~Trainer();

  // Trains to the end of the token budget, or until `stop` is set on any rank (then all finish that step, rank 0 saves it, and all
  // leave). An error of rank 0 at a checkpoint is an error of all.
  absl::StatusOr<Outcome> Run(const std::atomic<bool>& stop);

  const TrainerState& state() const { return state_; }
  // Steps that options.profile recorded, and their time.
  int profiled_steps() const { return profiled_steps_; }
  double profiled_seconds() const { return profiled_seconds_; }
  // [table().total()], and where there is a rounded copy, of weights of products only the rows that this rank owns are up to date.
  const float* parameters() const { return parameters_; }
  const ParameterTable& table() const { return model_.table(); }

 private:
  Trainer(const v1::JobFile& file, const TrainerOptions& options, Ranks& ranks, const Clock& clock, Reporter& reporter,
          TrainingData data, std::unique_ptr<Storage> storage);

  absl::Status ResumeTogether();
  absl::StatusOr<StepResult> Step(const std::atomic<bool>& stop);
  // Forward and backward of this rank's part of the global batch, into sums_.
  absl::Status ComputeGradients();
  int64_t BytesARow();
  StepResult ResultOfSums() const;
  absl::Status Update(StepResult& result);
  absl::Status AfterStep(const StepResult& result);
  absl::Status Report(const StepResult& result, bool validates);
  absl::Status Validate();
  // By spec.metrics.analyses, on the first validation set or, without one, on the training data, in the order of the split.
  absl::Status Analyse();
  BatchBuffers Buffers();
  absl::Status Save();
  // Waits for all ranks. An error of any of them is an error of all: `mine`, or one that says that it was another's.
  absl::Status Agree(const absl::Status& mine);
  // What this rank reads from a checkpoint: all rows of its table, and the moments of those that it owns.
  std::vector<TensorSlab> SlabsToLoad();
  // What it writes: the rows that it owns.
  std::vector<TensorSlab> SlabsToSave();
  void AddMoments(std::vector<TensorSlab>& slabs);
  uint64_t BytesSent() const;
  // Of all layers and experts, as Reporter::Step takes them.
  absl::StatusOr<std::vector<float>> Coefficients();
  absl::Status CheckFinite(const StepResult& result) const;
  // Whether a multiple of `every` tokens lies in the step that ended at state_.tokens.
  bool Due(uint64_t every) const;
  bool done() const;
  bool leads() const { return ranks_.world->rank() == 0; }

  const v1::JobFile& file_;
  const TrainerOptions options_;
  Ranks& ranks_;
  const Clock& clock_;
  Reporter& reporter_;
  const TrainingData data_;
  const BatchLoader loader_;  // reads data_.train

  std::unique_ptr<GroupExchange> exchange_;  // null where the rank has all experts
  Model model_;
  const Ops<float>& parameter_ops_;
  const Sharding sharding_;
  Optimizer optimizer_;
  float *parameters_ = nullptr, *gradients_ = nullptr;  // fp32, [model_.table().total()]
  const Arena memory_;                                  // of both
  Reducer reducer_;
  std::vector<int32_t> tokens_, targets_;  // one micro-batch
  StepSums sums_;                          // of the latest step
  TrainerState state_;
  const std::unique_ptr<Storage> storage_;  // of checkpoints
  Saver saver_;
  uint64_t bytes_sent_ = 0;  // by all groups, up to the latest step
  double save_seconds_ = 0;  // for the checkpoint of the latest step
  int skipped_in_a_row_ = 0;
  int profiled_steps_ = 0;
  double profiled_seconds_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_TRAINER_H_
