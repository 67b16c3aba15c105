// Checkpoints of all ranks together, beside training. Every rank copies its rows and trains on; once all parts are written, which the ranks
// learn from the sums that they make each step anyway, rank 0 makes the checkpoint of them and says so.
#ifndef POLYMOE_WORKER_TRAIN_SAVER_H_
#define POLYMOE_WORKER_TRAIN_SAVER_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "worker/checkpoint/writer.h"
#include "worker/parallel/group.h"
#include "worker/train/step_sums.h"

namespace polymoe {

class Saver {
 public:
  using Saved = std::function<void(const TrainerState& state, const std::string& path)>;

  // `saved` is called on rank 0 for each checkpoint that is there. `alive` is called while the ranks wait. References are kept.
  Saver(Storage& storage, const WriterOptions& options, Group& world, Saved saved, std::function<void()> alive);

  // All ranks, after the same step. Takes as long as the copy, and as what is left of the save before, which it waits for.
  absl::Status Start(const TrainerState& state, absl::Span<const TensorSlab> slabs);

  // Each step: this rank's word before the sums are made, and what follows from them. An error of one rank is an error of all.
  void AddTo(StepSums& sums);
  absl::Status Advance(const StepSums& sums);

  // All ranks: until the checkpoint that was started last is there.
  absl::Status Finish();

 private:
  enum class Phase { kIdle, kWriting, kCommitting };  // committing: rank 0 alone

  // Takes the result of what has ended.
  void Collect();
  // Until no rank's writer runs. In short collectives, so that nobody's deadline passes while a slow disk is written.
  absl::Status WaitTogether();
  absl::Status Fail(bool any) const;
  void Commit();
  bool leads() const { return world_.rank() == 0; }

  CheckpointWriter writer_;
  Group& world_;
  const Saved saved_;
  const std::function<void()> alive_;
  Phase phase_ = Phase::kIdle;
  TrainerState state_;   // of the latest save
  absl::Status status_;  // first failure of this rank
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_SAVER_H_
