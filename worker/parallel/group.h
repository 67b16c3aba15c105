// Some ranks of one attempt, seen from one of them: the collectives of training.
//
// Every rank of a group calls the same operations in the same order; one thread uses a group. Sums are made in the order of the ranks,
// so that every rank and every run gets the same bits, whatever carries the messages.
//
// Blocking operations return when the result is there. Those that begin with Start return at once and own their buffers until Finish
// of the same channel; a channel carries one operation at a time, and operations on different channels finish in any order.
//
// Errors. A rank that is lost (its connection broke) is UNAVAILABLE, one that is late (nothing came for the deadline) is
// DEADLINE_EXCEEDED; both name the rank by its number in the attempt. After an error the group is of no use: every later call returns
// it again.
#ifndef POLYMOE_WORKER_PARALLEL_GROUP_H_
#define POLYMOE_WORKER_PARALLEL_GROUP_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace polymoe {

class Group {
 public:
  static constexpr int kChannels = 64;

  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Element-wise sums over all ranks, to all ranks.
  virtual absl::Status AllReduceSum(absl::Span<float> values) = 0;
  virtual absl::Status AllReduceSum(absl::Span<double> values) = 0;
  // The bytes of rank `root`, to all.
  virtual absl::Status Broadcast(absl::Span<char> bytes, int root) = 0;
  // Returns when all ranks have called it.
  virtual absl::Status Barrier() = 0;

  // `cuts` [size() + 1], ascending, cut `data` into one piece a rank: piece r is [cuts[r], cuts[r + 1]), in elements. Pieces may be
  // empty; the cuts are the same on all ranks. In place.
  //   reduce-scatter  piece rank() becomes the sum over all ranks; the other pieces are left as they were
  //   all-gather      each rank gives its own piece and gets all others
  virtual absl::Status StartReduceScatterSum(int channel, float* data, absl::Span<const int64_t> cuts) = 0;
  virtual absl::Status StartAllGather(int channel, void* data, absl::Span<const int64_t> cuts, int64_t element_bytes) = 0;

  // `send_counts` and `receive_counts` [size()]: rows of `row_bytes` for and from each rank, one rank's behind the other's; a rank may
  // send to itself. What r sends to s is what s expects from r.
  virtual absl::Status StartAllToAllV(int channel, int64_t row_bytes, const void* send, absl::Span<const int64_t> send_counts,
                                      void* receive, absl::Span<const int64_t> receive_counts) = 0;

  // Waits for the operation that was started on this channel; fine when there is none.
  virtual absl::Status Finish(int channel) = 0;

  // Ends what runs and all that comes, here and, through their broken connections, on the other ranks. From any thread.
  virtual void Abort() = 0;

  // Bytes that this rank has sent to others so far.
  virtual uint64_t bytes_sent() const = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_GROUP_H_
