#include "worker/parallel/thread_transport.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/clock.h"

namespace polymoe {
namespace {

// One end of a message.
struct End {
  int rank = 0, peer = 0;
  bool sends = false;
  uint64_t tag = 0;
  char* data = nullptr;
  size_t bytes = 0;
  End* other = nullptr;  // once they have met
  bool done = false;
};

// What the ranks share.
class Switchboard {
 public:
  Switchboard(int size, uint64_t seed) : closed_(size), random_(seed), carrier_([this] { Carry(); }) {}
  ~Switchboard() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    carrier_.join();
  }

  absl::Status Start(End& end) {
    const std::lock_guard lock(mutex_);
    if (!closed_[end.rank].ok()) return closed_[end.rank];
    if (!closed_[end.peer].ok()) return PeerClosed();
    for (End* other : unmet_) {
      if (other->rank != end.peer || other->peer != end.rank || other->sends == end.sends || other->tag != end.tag) continue;
      POLYMOE_CHECK(other->bytes == end.bytes, "ranks %d and %d: %zu and %zu bytes", end.rank, end.peer, end.bytes, other->bytes);
      other->other = &end;
      end.other = other;
      unmet_.erase(std::find(unmet_.begin(), unmet_.end(), other));
      met_.push_back(end.sends ? &end : other);
      changed_.notify_all();
      return absl::OkStatus();
    }
    unmet_.push_back(&end);
    return absl::OkStatus();
  }

  absl::Status Wait(const End& end, absl::Duration until) {
    std::unique_lock lock(mutex_);
    const auto over = [&] { return end.done || !closed_[end.rank].ok() || !closed_[end.peer].ok(); };
    changed_.wait_for(lock, absl::ToChronoNanoseconds(until - Clock::Real().Monotonic()), over);
    if (!closed_[end.rank].ok()) return closed_[end.rank];
    if (end.done) return absl::OkStatus();
    return closed_[end.peer].ok() ? absl::DeadlineExceededError("nothing came") : PeerClosed();
  }

  void Close(int rank, const absl::Status& why) {
    const std::lock_guard lock(mutex_);
    if (!closed_[rank].ok()) return;
    closed_[rank] = why;
    const auto of_rank = [rank](const End* end) { return end->rank == rank || end->peer == rank; };
    std::erase_if(unmet_, of_rank);
    std::erase_if(met_, of_rank);
    changed_.notify_all();
  }
  absl::Status status(int rank) const {
    const std::lock_guard lock(mutex_);
    return closed_[rank];
  }

 private:
  static absl::Status PeerClosed() { return absl::UnavailableError("it has closed its connection"); }

  // Copies under the lock: nobody can close while a buffer is in use.
  void Carry() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !met_.empty(); });
      if (stopping_) return;
      std::swap(met_[random_() % met_.size()], met_.back());
      End* send = met_.back();
      met_.pop_back();
      if (send->bytes > 0) std::memcpy(send->other->data, send->data, send->bytes);
      send->other->done = true;
      send->done = true;
      changed_.notify_all();
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<absl::Status> closed_;  // OK while a rank takes part
  std::vector<End*> unmet_;           // in the order of their start
  std::vector<End*> met_;             // the sending ends
  bool stopping_ = false;
  std::mt19937_64 random_;
  std::thread carrier_;
};

class ThreadTransport final : public Transport {
 public:
  ThreadTransport(std::shared_ptr<Switchboard> board, int rank, int size) : board_(std::move(board)), rank_(rank), size_(size) {}
  ThreadTransport(const ThreadTransport&) = delete;
  ~ThreadTransport() override { Close(absl::CancelledError("the transport is gone")); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  absl::StatusOr<Message> StartSend(int to, uint64_t tag, const void* data, size_t bytes) override {
    return Start({.rank = rank_,
                  .peer = to,
                  .sends = true,
                  .tag = tag,
                  .data = static_cast<char*>(const_cast<void*>(data)),
                  .bytes = bytes});
  }
  absl::StatusOr<Message> StartReceive(int from, uint64_t tag, void* data, size_t bytes) override {
    return Start({.rank = rank_, .peer = from, .sends = false, .tag = tag, .data = static_cast<char*>(data), .bytes = bytes});
  }
  absl::Status Wait(Message message, absl::Duration until) override {
    absl::Status status = board_->Wait(*ends_[message], until);
    if (status.ok()) idle_.push_back(message);
    return status;
  }
  void Close(const absl::Status& why) override { board_->Close(rank_, why); }
  absl::Status status() const override { return board_->status(rank_); }

 private:
  absl::StatusOr<Message> Start(const End& end) {
    POLYMOE_CHECK(end.peer >= 0 && end.peer < size_ && end.peer != rank_, "rank %d sends to or receives from rank %d", rank_,
                  end.peer);
    if (idle_.empty()) {
      idle_.push_back(static_cast<int>(ends_.size()));
      ends_.push_back(std::make_unique<End>());
    }
    const Message message = idle_.back();
    *ends_[message] = end;
    absl::Status status = board_->Start(*ends_[message]);
    if (!status.ok()) return status;
    idle_.pop_back();
    return message;
  }

  const std::shared_ptr<Switchboard> board_;
  const int rank_, size_;
  std::vector<std::unique_ptr<End>> ends_;  // by message; their addresses are known to the switchboard
  std::vector<Message> idle_;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> ConnectThreads(int size, uint64_t seed) {
  const auto board = std::make_shared<Switchboard>(size, seed);
  std::vector<std::unique_ptr<Transport>> transports;
  for (int rank = 0; rank < size; ++rank) transports.push_back(std::make_unique<ThreadTransport>(board, rank, size));
  return transports;
}

}  // namespace polymoe
