#include "worker/parallel/message_group.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/status.h"

namespace polymoe {
namespace {

constexpr const char* kKindNames[] = {"reduce-scatter", "all-gather", "all-to-all", "all-reduce", "broadcast", "barrier"};
constexpr const char* kSpaceNames[] = {"all ranks", "the ranks that share experts", "the ranks with the same experts"};

// Up to here everybody sends everything to everybody: one round and more bytes are faster than two rounds.
constexpr int64_t kShortReduce = 32 << 10;

template <typename T>
void Add(T* __restrict to, const T* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

MessageGroup::MessageGroup(Transport& transport, std::vector<int> members, Space space, absl::Duration deadline)
    : transport_(transport), members_(std::move(members)), space_(space), deadline_(deadline) {
  const auto own = std::find(members_.begin(), members_.end(), transport_.rank());
  POLYMOE_CHECK(own != members_.end() && std::is_sorted(members_.begin(), members_.end()), "a group without its own rank %d",
                transport_.rank());
  rank_ = static_cast<int>(own - members_.begin());
  for (Operation& operation : operations_) {
    operation.receives.reserve(members_.size());
    operation.sends.reserve(members_.size());
  }
  idle_scratch_.reserve(operations_.size());
  even_cuts_.resize(members_.size() + 1);
  tokens_.resize(members_.size());
}

absl::Status MessageGroup::Broadcast(absl::Span<char> bytes, int root) {
  POLYMOE_CHECK(root >= 0 && root < size(), "root %d of %d ranks", root, size());
  POLYMOE_ASSIGN_OR_RETURN(Operation* const operation, Begin(Kind::kBroadcast, kOwnChannel));
  const int64_t length = static_cast<int64_t>(bytes.size());
  if (rank_ != root) {
    POLYMOE_RETURN_IF_ERROR(Receive(*operation, root, bytes.data(), length));
  } else {
    for (int peer = 0; peer < size(); ++peer) POLYMOE_RETURN_IF_ERROR(Send(*operation, peer, bytes.data(), length));
  }
  return Finish(kOwnChannel);
}

absl::Status MessageGroup::Barrier() {
  POLYMOE_ASSIGN_OR_RETURN(Operation* const operation, Begin(Kind::kBarrier, kOwnChannel));
  for (int peer = 0; peer < size(); ++peer) POLYMOE_RETURN_IF_ERROR(Receive(*operation, peer, &tokens_[peer], 1));
  for (int peer = 0; peer < size(); ++peer) POLYMOE_RETURN_IF_ERROR(Send(*operation, peer, &tokens_[rank_], 1));
  return Finish(kOwnChannel);
}

absl::Status MessageGroup::StartReduceScatterSum(int channel, float* data, absl::Span<const int64_t> cuts) {
  return StartReduceScatter(channel, data, cuts);
}

template <typename T>
absl::Status MessageGroup::StartReduceScatter(int channel, T* data, absl::Span<const int64_t> cuts) {
  POLYMOE_CHECK(static_cast<int>(cuts.size()) == size() + 1, "%zu cuts for %d ranks", cuts.size(), size());
  POLYMOE_ASSIGN_OR_RETURN(Operation* const operation, Begin(Kind::kReduceScatter, channel));
  POLYMOE_RETURN_IF_ERROR(ReceiveForSum(*operation, data + cuts[rank_], cuts[rank_ + 1] - cuts[rank_]));
  for (int peer = 0; peer < size(); ++peer) {
    const int64_t bytes = (cuts[peer + 1] - cuts[peer]) * static_cast<int64_t>(sizeof(T));
    POLYMOE_RETURN_IF_ERROR(Send(*operation, peer, data + cuts[peer], bytes));
  }
  return absl::OkStatus();
}

absl::Status MessageGroup::StartAllGather(int channel, void* data, absl::Span<const int64_t> cuts, int64_t element_bytes) {
  POLYMOE_CHECK(static_cast<int>(cuts.size()) == size() + 1, "%zu cuts for %d ranks", cuts.size(), size());
  POLYMOE_ASSIGN_OR_RETURN(Operation* const operation, Begin(Kind::kAllGather, channel));
  const auto at = [&](int r) { return static_cast<char*>(data) + cuts[r] * element_bytes; };
  const auto bytes = [&](int r) { return (cuts[r + 1] - cuts[r]) * element_bytes; };
  for (int peer = 0; peer < size(); ++peer) POLYMOE_RETURN_IF_ERROR(Receive(*operation, peer, at(peer), bytes(peer)));
  for (int peer = 0; peer < size(); ++peer) POLYMOE_RETURN_IF_ERROR(Send(*operation, peer, at(rank_), bytes(rank_)));
  return absl::OkStatus();
}

absl::Status MessageGroup::StartAllToAllV(int channel, int64_t row_bytes, const void* send, absl::Span<const int64_t> send_counts,
                                          void* receive, absl::Span<const int64_t> receive_counts) {
  POLYMOE_CHECK(static_cast<int>(send_counts.size()) == size() && static_cast<int>(receive_counts.size()) == size(),
                "%zu and %zu counts for %d ranks", send_counts.size(), receive_counts.size(), size());
  POLYMOE_CHECK(send_counts[rank_] == receive_counts[rank_], "rank %d sends itself %lld rows and expects %lld", rank_,
                static_cast<long long>(send_counts[rank_]), static_cast<long long>(receive_counts[rank_]));
  POLYMOE_ASSIGN_OR_RETURN(Operation* const operation, Begin(Kind::kAllToAll, channel));
  char* to = static_cast<char*>(receive);
  char* own = nullptr;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank_) own = to;
    POLYMOE_RETURN_IF_ERROR(Receive(*operation, peer, to, receive_counts[peer] * row_bytes));
    to += receive_counts[peer] * row_bytes;
  }
  const char* from = static_cast<const char*>(send);
  for (int peer = 0; peer < size(); ++peer) {
    const int64_t bytes = send_counts[peer] * row_bytes;
    if (peer == rank_ && bytes > 0) std::memcpy(own, from, static_cast<size_t>(bytes));
    POLYMOE_RETURN_IF_ERROR(Send(*operation, peer, from, bytes));
    from += bytes;
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status MessageGroup::AllReduce(absl::Span<T> values) {
  const int64_t count = static_cast<int64_t>(values.size());
  if (count * static_cast<int64_t>(sizeof(T)) <= kShortReduce) {
    POLYMOE_ASSIGN_OR_RETURN(Operation* const operation, Begin(Kind::kAllReduce, kOwnChannel));
    POLYMOE_RETURN_IF_ERROR(ReceiveForSum(*operation, values.data(), count));
    for (int peer = 0; peer < size(); ++peer) {
      POLYMOE_RETURN_IF_ERROR(Send(*operation, peer, values.data(), count * static_cast<int64_t>(sizeof(T))));
    }
    return Finish(kOwnChannel);
  }
  for (int r = 0; r <= size(); ++r) even_cuts_[r] = count * r / size();
  POLYMOE_RETURN_IF_ERROR(StartReduceScatter(kOwnChannel, values.data(), even_cuts_));
  POLYMOE_RETURN_IF_ERROR(Finish(kOwnChannel));
  POLYMOE_RETURN_IF_ERROR(StartAllGather(kOwnChannel, values.data(), even_cuts_, sizeof(T)));
  return Finish(kOwnChannel);
}

absl::Status MessageGroup::Finish(int channel) {
  POLYMOE_RETURN_IF_ERROR(transport_.status());
  Operation& operation = operations_[channel];
  if (!operation.running) return absl::OkStatus();
  const absl::Duration until = Clock::Real().Monotonic() + deadline_;
  POLYMOE_RETURN_IF_ERROR(WaitFor(operation, operation.receives, true, until));
  // What was sent of `own` is of other pieces, or still on its way when all pieces are one (a short all-reduce).
  if (operation.kind == Kind::kAllReduce) POLYMOE_RETURN_IF_ERROR(WaitFor(operation, operation.sends, false, until));
  if (operation.add != nullptr) operation.add(*this, operation);
  POLYMOE_RETURN_IF_ERROR(WaitFor(operation, operation.sends, false, until));
  if (operation.scratch.data != nullptr) idle_scratch_.push_back(std::move(operation.scratch));
  operation.running = false;
  return absl::OkStatus();
}

void MessageGroup::Abort() {
  transport_.Close(absl::CancelledError("the work of these ranks was aborted"));
}

absl::StatusOr<MessageGroup::Operation*> MessageGroup::Begin(Kind kind, int channel) {
  POLYMOE_CHECK(channel >= 0 && channel <= kOwnChannel, "channel %d", channel);
  POLYMOE_RETURN_IF_ERROR(transport_.status());
  Operation& operation = operations_[channel];
  POLYMOE_CHECK(!operation.running, "channel %d has an operation in flight", channel);
  operation.running = true;
  operation.kind = kind;
  operation.sequence = sequence_++;
  operation.add = nullptr;
  return &operation;
}

absl::Status MessageGroup::Send(Operation& operation, int peer, const void* data, int64_t bytes) {
  if (peer == rank_ || bytes == 0) return absl::OkStatus();
  const auto message = transport_.StartSend(members_[peer], Tag(operation, bytes), data, static_cast<size_t>(bytes));
  if (!message.ok()) return Fail(operation, message.status(), {peer}, false);
  operation.sends.push_back({peer, *message});
  bytes_sent_ += static_cast<uint64_t>(bytes);
  return absl::OkStatus();
}

absl::Status MessageGroup::Receive(Operation& operation, int peer, void* data, int64_t bytes) {
  if (peer == rank_ || bytes == 0) return absl::OkStatus();
  const auto message = transport_.StartReceive(members_[peer], Tag(operation, bytes), data, static_cast<size_t>(bytes));
  if (!message.ok()) return Fail(operation, message.status(), {peer}, true);
  operation.receives.push_back({peer, *message});
  return absl::OkStatus();
}

template <typename T>
absl::Status MessageGroup::ReceiveForSum(Operation& operation, T* own, int64_t count) {
  if (count == 0) return absl::OkStatus();
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  operation.own = own;
  operation.count = count;
  operation.add = &AddInOrder<T>;
  operation.scratch = TakeScratch((size() - 1) * bytes);
  char* to = operation.scratch.data.get();
  for (int peer = 0; peer < size(); ++peer) {
    POLYMOE_RETURN_IF_ERROR(Receive(operation, peer, to, bytes));
    if (peer != rank_) to += bytes;
  }
  return absl::OkStatus();
}

// In blocks that stay in the cache, whatever the number of ranks.
template <typename T>
void MessageGroup::AddInOrder(const MessageGroup& group, Operation& operation) {
  constexpr int64_t kBlock = 2048;
  T sum[kBlock];
  T* const own = static_cast<T*>(operation.own);
  const T* const others = reinterpret_cast<const T*>(operation.scratch.data.get());
  for (int64_t begin = 0; begin < operation.count; begin += kBlock) {
    const int64_t count = std::min(kBlock, operation.count - begin);
    const auto piece = [&](int r) {
      if (r == group.rank_) return static_cast<const T*>(own + begin);
      return others + (r < group.rank_ ? r : r - 1) * operation.count + begin;
    };
    std::copy_n(piece(0), count, sum);
    for (int r = 1; r < group.size(); ++r) Add(sum, piece(r), count);
    std::copy_n(sum, count, own + begin);
  }
}

absl::Status MessageGroup::WaitFor(Operation& operation, std::vector<Flight>& flights, bool receives, absl::Duration until) {
  for (size_t i = 0; i < flights.size(); ++i) {
    const absl::Status status = transport_.Wait(flights[i].message, until);
    if (status.ok()) continue;
    std::vector<int> guilty = {flights[i].peer};
    for (size_t j = i + 1; j < flights.size() && absl::IsDeadlineExceeded(status); ++j) {
      if (absl::IsDeadlineExceeded(transport_.Wait(flights[j].message, until))) guilty.push_back(flights[j].peer);
    }
    return Fail(operation, status, std::move(guilty), receives);
  }
  flights.clear();
  return absl::OkStatus();
}

absl::Status MessageGroup::Fail(const Operation& operation, const absl::Status& cause, std::vector<int> peers, bool receives) {
  for (int& peer : peers) peer = members_[peer];
  const std::string who = absl::StrCat(peers.size() == 1 ? "rank " : "ranks ", absl::StrJoin(peers, ", "));
  const std::string where = absl::StrCat(" (", kKindNames[static_cast<int>(operation.kind)], " among ", kSpaceNames[space_], ")");
  if (absl::IsDeadlineExceeded(cause)) {
    transport_.Close(absl::DeadlineExceededError(
        absl::StrCat(who, receives ? " sent" : " took", " nothing for ", absl::ToDoubleSeconds(deadline_), " s", where)));
  } else {
    transport_.Close(absl::Status(cause.code(), absl::StrCat(who, " is gone: ", cause.message(), where)));
  }
  return transport_.status();  // an earlier error, if there was one
}

uint64_t MessageGroup::Tag(const Operation& operation, int64_t bytes) const {
  const uint64_t length = (static_cast<uint64_t>(bytes) * 0x9E3779B97F4A7C15u) >> 40;
  const uint64_t channel = static_cast<uint64_t>(&operation - operations_.data());
  return static_cast<uint64_t>(space_) << 60 | static_cast<uint64_t>(operation.kind) << 56 | channel << 48 |
         (operation.sequence & 0xFFFFFF) << 24 | length;
}

MessageGroup::Scratch MessageGroup::TakeScratch(int64_t bytes) {
  // The smallest that is long enough, or else the longest, which grows.
  const auto better = [bytes](const Scratch& a, const Scratch& b) {
    if ((a.bytes >= bytes) != (b.bytes >= bytes)) return a.bytes >= bytes;
    return a.bytes >= bytes ? a.bytes < b.bytes : a.bytes > b.bytes;
  };
  Scratch taken;
  if (const auto best = std::min_element(idle_scratch_.begin(), idle_scratch_.end(), better); best != idle_scratch_.end()) {
    taken = std::move(*best);
    idle_scratch_.erase(best);
  }
  if (taken.bytes < bytes) {
    taken.data.reset();  // before the new one is there
    taken = {std::make_unique_for_overwrite<char[]>(static_cast<size_t>(bytes)), bytes};
  }
  return taken;
}

}  // namespace polymoe
