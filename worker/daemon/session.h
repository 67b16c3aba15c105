// The stream to the coordinator: registers, sends heartbeats and reports, carries out what it is told, reconnects for ever.
//
// A synchronous stream with two threads: the reader (which also reconnects) and the writer. Each blocks only in its own direction, so
// a coordinator that stops reading cannot keep us from hearing it. Neither watches the lease: a writer can hang in a dead connection
// for minutes, so the supervisor does that, where the ranks are, and then cancels the active stream.
#ifndef POLYMOE_WORKER_DAEMON_SESSION_H_
#define POLYMOE_WORKER_DAEMON_SESSION_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "absl/time/time.h"

#include "common/clock.h"
#include "worker/daemon/lease.h"

namespace grpc {
class ClientContext;
}

namespace polymoe {

class DaemonMetrics;
class Outbox;
class Supervisor;

namespace v1 {
class CoordinatorMessage;
class Registered;
class WorkerMessage;
}  // namespace v1

struct SessionOptions {
  std::string server;    // host:port
  std::string worker;    // our name
  std::string instance;  // new at each daemon start
  std::string host;
};

// The stream that is open now, for those who may have to break it. Thread-safe.
class ActiveStream {
 public:
  void Set(grpc::ClientContext* context);  // null when it is over
  void Cancel();

 private:
  std::mutex mutex_;
  grpc::ClientContext* context_ = nullptr;
};

class Session {
 public:
  // Connects at once, and again after every end. `on_drain` is called on the reader's thread for a Drain message. All references
  // outlive it.
  Session(SessionOptions options, const Clock& clock, ActiveStream* stream, Outbox* outbox, Supervisor* supervisor,
          DaemonMetrics* metrics, std::function<void()> on_drain);
  // Ends the stream; what is not acknowledged then stays in the outbox.
  ~Session();

  // From any thread. The coordinator is told that no new ranks are wanted, on this stream and on later ones.
  void AnnounceDrain();

 private:
  enum class Phase { kRegistering, kRegistered, kOver };
  // Sends one message; false when the stream is broken.
  using Send = std::function<bool(const v1::WorkerMessage&)>;

  void Run();
  // From connecting to the stream's end. True when it had been registered.
  bool RunStream();
  void WriteLoop(const Send& send);
  bool WaitUntilRegistered();
  void Handle(const v1::CoordinatorMessage& message);
  void HandleRegistered(const v1::Registered& registered);
  v1::WorkerMessage RegisterMessage() const;
  void LogEnd(bool registered, const std::string& reason);

  const SessionOptions options_;
  const Clock& clock_;
  ActiveStream* const stream_;
  Outbox* const outbox_;
  Supervisor* const supervisor_;
  DaemonMetrics* const metrics_;
  const std::function<void()> on_drain_;

  std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::kOver;
  bool draining_ = false;
  bool ended_ = false;
  Lease lease_;
  absl::Duration heartbeat_interval_;

  // Of the reader alone.
  absl::Duration register_sent_;
  bool registered_before_ = false;
  std::string last_error_;

  std::thread thread_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_SESSION_H_
