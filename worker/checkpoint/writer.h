// Makes checkpoints beside training. One on each rank of an attempt:
//
//   writer.Start(state, slabs)   all ranks: copies the slabs (training stands still as long as that takes); a thread writes them
//   writer.Done()                each step: has the thread finished?
//   writer.Wait()                once all are done (the ranks agree on that elsewhere): the status, which they agree on too
//   writer.Commit()              rank 0, if all is well: a thread makes the checkpoint from the parts of all ranks
//   writer.Done(), writer.Wait() rank 0: now it is there
//
// The slabs of all ranks together must cover every row of every tensor exactly once, else Commit's Wait is DATA_LOSS and there is no
// checkpoint. A step that is committed already, by whichever attempt, is left alone: both phases succeed and change nothing.
//
// Thread-compatible: one thread calls. The storage is the writer's alone between Start or Commit and the Wait that follows.
#ifndef POLYMOE_WORKER_CHECKPOINT_WRITER_H_
#define POLYMOE_WORKER_CHECKPOINT_WRITER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/index.h"
#include "worker/checkpoint/retention.h"
#include "worker/checkpoint/slab.h"
#include "worker/checkpoint/storage.h"

namespace polymoe {

struct WriterOptions {
  int rank = 0, ranks = 1;
  uint32_t attempt = 1;  // of two that write to the same place, the newer has the larger number
  Retention retention;
};

class CheckpointWriter {
 public:
  CheckpointWriter(Storage& storage, const WriterOptions& options);
  // Waits for what runs. A process that must end at once ends without this (_exit): what is not committed is no checkpoint.
  ~CheckpointWriter();

  // The slabs are free again when it returns; the copy's memory is kept for the next save. RESOURCE_EXHAUSTED when there is none. Whatever
  // ran before has been waited for.
  absl::Status Start(const TrainerState& state, absl::Span<const TensorSlab> slabs);
  // Rank 0, after Start and its Wait: joins the parts, marks the checkpoint, prunes. What cannot be pruned is a warning in the log, since the
  // new checkpoint is good.
  void Commit();

  // Whether Wait would return at once.
  bool Done() const { return done_.load(std::memory_order_acquire); }
  // The status of what was started last.
  absl::Status Wait();

  // Where the checkpoint of the last Start is or will be, in full.
  std::string path() const { return storage_.Where(name_); }

 private:
  void Run(std::function<absl::Status()> work);
  absl::Status WritePart();
  absl::Status MakeCheckpoint();
  // Index of the checkpoint from the heads of all ranks' files.
  absl::StatusOr<TensorIndex> JoinParts(const std::string& folder);
  absl::StatusOr<bool> Committed();

  Storage& storage_;
  const WriterOptions options_;

  TrainerState state_;
  std::string name_;               // of the checkpoint
  std::vector<TensorSlab> slabs_;  // in copy_, one behind another
  std::unique_ptr<float[]> copy_;
  int64_t capacity_ = 0;  // of copy_

  std::thread thread_;
  std::atomic<bool> done_ = true;
  absl::Status status_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_WRITER_H_
