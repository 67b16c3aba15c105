// A coordinator that does what a test tells it: takes worker sessions, answers heartbeats unless told not to, and hands everything
// else that workers send to the test.
#ifndef POLYMOE_TESTS_FAKES_COORDINATOR_H_
#define POLYMOE_TESTS_FAKES_COORDINATOR_H_

#include <grpcpp/support/sync_stream.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/worker.grpc.pb.h"

#include "common/check.h"
#include "tests/fakes/blocking_queue.h"
#include "tests/fakes/loopback_server.h"

namespace polymoe {

class FakeCoordinator final : public v1::WorkerService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::WorkerMessage>;

  FakeCoordinator() { Start(); }
  ~FakeCoordinator() override { Stop(); }

  // Host:port, the same after a restart.
  std::string address() const { return server_.address(); }

  void Start() { server_.Start(this); }
  // Breaks all sessions; nobody listens until the next Start.
  void Stop() {
    if (!server_.running()) return;
    set_reading(true);
    server_.Stop();
  }

  // Of later registrations.
  void set_registered(const v1::Registered& registered) {
    const std::lock_guard lock(mutex_);
    registered_ = registered;
  }
  void set_answer_heartbeats(bool answer) { answer_heartbeats_ = answer; }

  // A session that notices that it must not read waits, and ends when it may again.
  void set_reading(bool reading) {
    const std::lock_guard lock(mutex_);
    reading_ = reading;
    reading_changed_.notify_all();
  }

  // On the newest session, which must be open.
  void Send(const v1::CoordinatorMessage& message) {
    const std::lock_guard lock(mutex_);
    POLYMOE_CHECK(stream_ != nullptr, "no session");
    stream_->Write(message);
  }

  // Everything but heartbeats, in order of arrival. A Register is here after it was answered.
  BlockingQueue<v1::WorkerMessage>& received() { return received_; }

  // The next message of a kind, others thrown away.
  v1::Register NextRegister() {
    v1::WorkerMessage message;
    do message = received_.Pop();
    while (!message.has_register_());
    return message.register_();
  }
  v1::Report NextReport() {
    v1::WorkerMessage message;
    do message = received_.Pop();
    while (!message.has_report());
    return message.report();
  }

 private:
  grpc::Status Session(grpc::ServerContext*, Stream* stream) override {
    v1::WorkerMessage message;
    while (stream->Read(&message)) {
      v1::CoordinatorMessage answer;
      {
        const std::lock_guard lock(mutex_);
        if (message.has_register_()) {
          stream_ = stream;
          *answer.mutable_registered() = registered_;
          stream->Write(answer);
        } else if (message.has_heartbeat() && answer_heartbeats_) {
          answer.mutable_heartbeat_ack()->set_sequence(message.heartbeat().sequence());
          stream->Write(answer);
        }
      }
      if (!message.has_heartbeat()) received_.Push(message);
      std::unique_lock lock(mutex_);
      if (reading_) continue;
      reading_changed_.wait(lock, [this] { return reading_; });
      break;
    }
    const std::lock_guard lock(mutex_);
    if (stream_ == stream) stream_ = nullptr;
    return grpc::Status::OK;
  }

  static v1::Registered DefaultRegistered() {
    v1::Registered registered;
    registered.set_lease_ms(60'000);
    registered.set_heartbeat_ms(20);
    return registered;
  }

  LoopbackServer server_;
  std::atomic<bool> answer_heartbeats_ = true;
  BlockingQueue<v1::WorkerMessage> received_;
  std::mutex mutex_;
  Stream* stream_ = nullptr;  // newest
  bool reading_ = true;
  std::condition_variable reading_changed_;
  v1::Registered registered_ = DefaultRegistered();
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_FAKES_COORDINATOR_H_
