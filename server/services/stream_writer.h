// The server's side of a stream of answers: anyone may push, gRPC sends one after the other. Bounded: a client that does not read gets
// RESOURCE_EXHAUSTED instead of the server's memory.
#ifndef POLYMOE_SERVER_SERVICES_STREAM_WRITER_H_
#define POLYMOE_SERVER_SERVICES_STREAM_WRITER_H_

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "server/services/call.h"

namespace polymoe {

template <class Message>
class StreamWriter : public grpc::ServerWriteReactor<Message> {
 public:
  // Owned by itself from Open() to the end of the stream; others hold it weakly.
  template <class Derived>
  static std::shared_ptr<Derived> Open(std::shared_ptr<Derived> stream, const CallTimer& timer) {
    stream->self_ = stream;
    stream->timer_ = timer;
    return stream;
  }

  void Push(Message message) {
    const std::lock_guard lock(mutex_);
    if (end_) return;
    if (queue_.size() >= kMaxQueued) {
      EndLocked(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the client reads too slowly; open the stream again"));
      return;
    }
    queue_.push_back(std::move(message));
    WriteNext();
  }

  // After what was pushed.
  void End(grpc::Status status) {
    const std::lock_guard lock(mutex_);
    if (!end_) EndLocked(std::move(status));
  }

 private:
  static constexpr size_t kMaxQueued = 1'000'000;

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    queue_.pop_front();
    if (!ok) queue_.clear();
    if (!ok && !end_) end_ = grpc::Status::CANCELLED;
    WriteNext();
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override {
    const auto keep = std::move(self_);
    timer_->Observe(*end_);
  }

  void EndLocked(grpc::Status status) {
    end_ = std::move(status);
    WriteNext();
  }

  // The front of the queue stays until it is written: gRPC reads it meanwhile.
  void WriteNext() {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      writing_ = true;
      this->StartWrite(&queue_.front());
    } else if (end_) {
      finished_ = true;
      this->Finish(*end_);
    }
  }

  std::mutex mutex_;
  std::deque<Message> queue_;
  bool writing_ = false, finished_ = false;
  std::optional<grpc::Status> end_;
  std::optional<CallTimer> timer_;
  std::shared_ptr<StreamWriter> self_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_STREAM_WRITER_H_
