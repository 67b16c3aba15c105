// A group over a transport: some of its ranks, with direct messages from each to each.
//
// A reduce-scatter sends each rank its piece, and adds what it receives in the order of the ranks, its own in its place; an all-gather
// and an all-to-all send each piece where it belongs; an all-reduce is the two together, a short one in one round. Several groups share
// a transport: each has its space of tags.
//
// A tag also says which operation it is, on which channel, the how-manieth of the group, and how long the piece: ranks that call
// different operations, or disagree on sizes, are late to each other when the deadline comes, and get nothing that is not theirs.
//
// Memory of its own: for each reduce-scatter in flight (size() - 1) times a piece; kept for the next one.
#ifndef POLYMOE_WORKER_PARALLEL_MESSAGE_GROUP_H_
#define POLYMOE_WORKER_PARALLEL_MESSAGE_GROUP_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"

#include "worker/parallel/group.h"
#include "worker/parallel/transport.h"

namespace polymoe {

class MessageGroup : public Group {
 public:
  enum Space { kWorld = 0, kExperts = 1, kReplicas = 2 };

  // `members` are ranks of the transport, ascending, its own among them: rank r of the group is members[r]. No operation waits longer
  // than `deadline` for another rank.
  MessageGroup(Transport& transport, std::vector<int> members, Space space, absl::Duration deadline);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  absl::Status AllReduceSum(absl::Span<float> values) override { return AllReduce(values); }
  absl::Status AllReduceSum(absl::Span<double> values) override { return AllReduce(values); }
  absl::Status Broadcast(absl::Span<char> bytes, int root) override;
  absl::Status Barrier() override;
  absl::Status StartReduceScatterSum(int channel, float* data, absl::Span<const int64_t> cuts) override;
  absl::Status StartAllGather(int channel, void* data, absl::Span<const int64_t> cuts, int64_t element_bytes) override;
  absl::Status StartAllToAllV(int channel, int64_t row_bytes, const void* send, absl::Span<const int64_t> send_counts,
                              void* receive, absl::Span<const int64_t> receive_counts) override;
  absl::Status Finish(int channel) override;
  // Of all groups on this transport.
  void Abort() override;
  uint64_t bytes_sent() const override { return bytes_sent_; }

 private:
  // Of the blocking operations.
  static constexpr int kOwnChannel = kChannels;
  enum class Kind { kReduceScatter, kAllGather, kAllToAll, kAllReduce, kBroadcast, kBarrier };

  struct Flight {
    int peer;  // rank in the group
    Transport::Message message;
  };
  struct Scratch {
    std::unique_ptr<char[]> data;
    int64_t bytes = 0;
  };
  // What runs on a channel.
  struct Operation {
    bool running = false;
    Kind kind = Kind::kBarrier;
    uint64_t sequence = 0;
    std::vector<Flight> receives, sends;
    // Sums only: add `count` elements of each other rank, which come to `scratch` in the order of the ranks, to `own`.
    void* own = nullptr;
    int64_t count = 0;
    void (*add)(const MessageGroup& group, Operation& operation) = nullptr;
    Scratch scratch;
  };

  // The next operation of the group; an error when there was one before.
  absl::StatusOr<Operation*> Begin(Kind kind, int channel);
  absl::Status Send(Operation& operation, int peer, const void* data, int64_t bytes);
  absl::Status Receive(Operation& operation, int peer, void* data, int64_t bytes);
  // To be added to `own`: `count` elements of each other rank.
  template <typename T>
  absl::Status ReceiveForSum(Operation& operation, T* own, int64_t count);
  template <typename T>
  static void AddInOrder(const MessageGroup& group, Operation& operation);
  template <typename T>
  absl::Status StartReduceScatter(int channel, T* data, absl::Span<const int64_t> cuts);
  template <typename T>
  absl::Status AllReduce(absl::Span<T> values);
  absl::Status WaitFor(Operation& operation, std::vector<Flight>& flights, bool receives, absl::Duration until);

  // Closes the transport; the error that it has from now on.
  absl::Status Fail(const Operation& operation, const absl::Status& cause, std::vector<int> peers, bool receives);
  uint64_t Tag(const Operation& operation, int64_t bytes) const;
  Scratch TakeScratch(int64_t bytes);

  Transport& transport_;
  const std::vector<int> members_;
  const Space space_;
  const absl::Duration deadline_;
  int rank_ = -1;
  uint64_t sequence_ = 0, bytes_sent_ = 0;
  std::array<Operation, kChannels + 1> operations_;
  std::vector<Scratch> idle_scratch_;
  std::vector<int64_t> even_cuts_;
  std::vector<char> tokens_;  // what a barrier sends
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_MESSAGE_GROUP_H_
