#include "worker/parallel/gloo_transport.h"

#include <arpa/inet.h>
#include <gloo/context.h>
#include <gloo/transport/address.h>
#include <gloo/transport/context.h>
#include <gloo/transport/device.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>
#include <net/if.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/status.h"

namespace polymoe {
namespace {

// Whatever a function of Gloo throws, as a status.
template <typename F>
absl::Status Catch(absl::StatusCode code, F&& call) {
  try {
    call();
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return absl::Status(code, e.what());
  }
}

// Rounded up: when they are over, `until` has passed.
std::chrono::milliseconds MillisUntil(absl::Duration until) {
  const absl::Duration left = absl::Ceil(until - Clock::Real().Monotonic(), absl::Milliseconds(1));
  return absl::ToChronoMilliseconds(std::max(left, absl::ZeroDuration()));
}

// A pair of sockets to each other rank, which Gloo's own rendezvous would connect too, but without a word on which rank is missing.
class Mesh : public gloo::Context {
 public:
  Mesh(int rank, int size) : gloo::Context(rank, size) {}

  void Listen(std::shared_ptr<gloo::transport::Device> device, std::chrono::milliseconds timeout) {
    transportContext_ = device->createContext(rank, size);
    transportContext_->setTimeout(timeout);
    device_ = std::move(device);
    for (int peer = 0; peer < size; ++peer) {
      if (peer != rank) transportContext_->createPair(peer);
    }
  }
  // Where the other ranks reach this one: addresses of equal length, in the order of the ranks.
  std::string Addresses() const {
    std::string addresses;
    for (int peer = 0; peer < size; ++peer) {
      if (peer == rank) continue;
      const std::vector<char> bytes = transportContext_->getPair(peer)->address().bytes();
      addresses.append(bytes.begin(), bytes.end());
    }
    return addresses;
  }
  // `addresses` are those of `peer`.
  void Connect(int peer, const std::string& addresses) {
    POLYMOE_CHECK(size > 1 && peer != rank, "rank %d connects to itself", rank);
    const size_t length = addresses.size() / (size - 1);
    const char* own = addresses.data() + length * (rank < peer ? rank : rank - 1);
    transportContext_->getPair(peer)->connect(std::vector<char>(own, own + length));
  }
  // After an error: resets the connections, so that nobody waits for what was on its way.
  void Reset() { closeConnections(); }
};

// Gloo tells of a broken connection only whoever waits for a message that has not begun. A message that was cut off in the middle would
// be waited for until its deadline. So the transport keeps a receive of its own on each connection, which never comes (`sentinel`), and
// a thread that asks it now and then whether the connection still is, and wakes up the wait that is in vain.
class GlooTransport final : public Transport {
 public:
  explicit GlooTransport(std::unique_ptr<Mesh> mesh) : mesh_(std::move(mesh)), lost_(mesh_->size), sentinels_(mesh_->size) {
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      sentinels_[peer] = mesh_->createUnboundBuffer(nullptr, 0);
      lost_[peer] = Catch(absl::StatusCode::kUnavailable, [&] { sentinels_[peer]->recv(peer, kSentinelTag); });
    }
    watcher_ = std::thread([this] { Watch(); });
  }
  GlooTransport(const GlooTransport&) = delete;
  ~GlooTransport() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    watcher_.join();
  }

  int rank() const override { return mesh_->rank; }
  int size() const override { return mesh_->size; }

  absl::StatusOr<Message> StartSend(int to, uint64_t tag, const void* data, size_t bytes) override {
    return Start({.peer = to, .sends = true}, tag, const_cast<void*>(data), bytes);
  }
  absl::StatusOr<Message> StartReceive(int from, uint64_t tag, void* data, size_t bytes) override {
    return Start({.peer = from, .sends = false}, tag, data, bytes);
  }
  absl::Status Wait(Message message, absl::Duration until) override {
    Piece& piece = pieces_[message];
    bool arrived = false;
    {
      const std::lock_guard lock(mutex_);
      if (!status_.ok()) return status_;
      // Nothing more comes from a rank that is lost: what is not there now never will be.
      if (!lost_[piece.peer].ok()) until = absl::ZeroDuration();
      waiting_ = &piece;
      waiting_until_ = until;
    }
    absl::Status status = Catch(absl::StatusCode::kUnavailable, [&] { arrived = piece.Wait(MillisUntil(until)); });
    const std::lock_guard lock(mutex_);
    waiting_ = nullptr;
    if (!status_.ok()) return status_;
    // Woken up by the watcher; it may have been there just then.
    if (status.ok() && !arrived) status = Catch(absl::StatusCode::kUnavailable, [&] { arrived = piece.Wait({}); });
    if (arrived) {
      piece.buffer.reset();
      idle_.push_back(message);
      return absl::OkStatus();
    }
    if (!lost_[piece.peer].ok()) return lost_[piece.peer];
    if (Clock::Real().Monotonic() < until) return status;
    late_ = true;
    return absl::DeadlineExceededError("nothing came");
  }

  void Close(const absl::Status& why) override {
    {
      const std::lock_guard lock(mutex_);
      if (!status_.ok()) return;
      status_ = why;
      if (waiting_ != nullptr) waiting_->Wake();
    }
    Catch(absl::StatusCode::kInternal, [&] { mesh_->Reset(); }).IgnoreError();
  }
  absl::Status status() const override {
    const std::lock_guard lock(mutex_);
    return status_;
  }

 private:
  static constexpr uint64_t kSentinelTag = ~uint64_t{0};
  static constexpr auto kLook = std::chrono::milliseconds(50);

  struct Piece {
    int peer = 0;
    bool sends = false;
    std::unique_ptr<gloo::transport::UnboundBuffer> buffer = nullptr;

    // False when woken up.
    bool Wait(std::chrono::milliseconds timeout) { return sends ? buffer->waitSend(timeout) : buffer->waitRecv(timeout); }
    void Wake() { sends ? buffer->abortWaitSend() : buffer->abortWaitRecv(); }
  };

  absl::StatusOr<Message> Start(Piece piece, uint64_t tag, void* data, size_t bytes) {
    POLYMOE_CHECK(piece.peer >= 0 && piece.peer < size() && piece.peer != rank(), "rank %d sends to or receives from rank %d",
                  rank(), piece.peer);
    POLYMOE_RETURN_IF_ERROR(status());
    POLYMOE_RETURN_IF_ERROR(Catch(absl::StatusCode::kUnavailable, [&] {
      piece.buffer = mesh_->createUnboundBuffer(data, bytes);
      piece.sends ? piece.buffer->send(piece.peer, tag) : piece.buffer->recv(piece.peer, tag);
    }));
    if (idle_.empty()) {
      idle_.push_back(static_cast<int>(pieces_.size()));
      pieces_.emplace_back();
    }
    const Message message = idle_.back();
    idle_.pop_back();
    pieces_[message] = std::move(piece);
    return message;
  }

  void Watch() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      // A wait that is over its time has Gloo close all connections: that says nothing about the other ranks.
      const bool late = late_ || (waiting_ != nullptr && Clock::Real().Monotonic() >= waiting_until_);
      for (int peer = 0; peer < size() && !late; ++peer) {
        if (sentinels_[peer] == nullptr || !lost_[peer].ok()) continue;
        // With the abort before it the wait returns at once, but throws first if the connection is broken.
        lost_[peer] = Catch(absl::StatusCode::kUnavailable, [&] {
          sentinels_[peer]->abortWaitRecv();
          sentinels_[peer]->waitRecv(std::chrono::milliseconds(0));
        });
        if (!lost_[peer].ok() && waiting_ != nullptr && waiting_->peer == peer) waiting_->Wake();
      }
      changed_.wait_for(lock, kLook, [this] { return stopping_; });
    }
  }

  const std::unique_ptr<Mesh> mesh_;
  // Of the thread that uses the transport. A piece that is still here when the connections are closed is not touched any more.
  std::vector<Piece> pieces_;  // by message
  std::vector<Message> idle_;

  mutable std::mutex mutex_;  // for what follows
  std::condition_variable changed_;
  absl::Status status_;
  Piece* waiting_ = nullptr;
  absl::Duration waiting_until_;
  bool late_ = false;               // a wait was over its time
  std::vector<absl::Status> lost_;  // how the connection broke
  bool stopping_ = false;
  std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> sentinels_;
  std::thread watcher_;
};

absl::StatusOr<std::shared_ptr<gloo::transport::Device>> OpenDevice(const std::string& bind) {
  in6_addr parsed;
  const bool interface = if_nametoindex(bind.c_str()) != 0;
  const bool address = inet_pton(AF_INET, bind.c_str(), &parsed) == 1 || inet_pton(AF_INET6, bind.c_str(), &parsed) == 1;
  absl::Status status = absl::InvalidArgumentError("neither of the two");  // Gloo crashes on a name that it cannot resolve
  std::shared_ptr<gloo::transport::Device> device;
  if (interface || address) {
    gloo::transport::tcp::attr attributes;
    (interface ? attributes.iface : attributes.hostname) = bind;
    status = Catch(absl::StatusCode::kInvalidArgument, [&] { device = gloo::transport::tcp::CreateDevice(attributes); });
  }
  if (!status.ok()) return Annotate(status, absl::StrCat("'", bind, "' is no address or interface of this machine to bind to"));
  return device;
}

std::string KeyOf(int rank) {
  return absl::StrCat("rank-", rank);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> ConnectRanks(const ConnectOptions& options, KeyValue& keys) {
  const absl::Duration until = Clock::Real().Monotonic() + options.deadline;
  POLYMOE_ASSIGN_OR_RETURN(auto device, OpenDevice(options.bind));
  auto mesh = std::make_unique<Mesh>(options.rank, options.world_size);
  // Gloo takes five times this long to connect.
  const auto timeout = absl::ToChronoMilliseconds(std::max(options.deadline / 5, absl::Milliseconds(1)));
  POLYMOE_RETURN_IF_ERROR(Catch(absl::StatusCode::kInternal, [&] { mesh->Listen(std::move(device), timeout); }));
  POLYMOE_RETURN_IF_ERROR(keys.Put(KeyOf(options.rank), mesh->Addresses()));
  std::vector<std::string> all;
  for (int rank = 0; rank < options.world_size; ++rank) all.push_back(KeyOf(rank));
  const auto addresses = keys.Wait(all, until);
  if (!addresses.ok()) return Annotate(addresses.status(), "not all ranks have come to the meeting");
  for (int rank = 0; rank < options.world_size; ++rank) {
    if (rank == options.rank) continue;
    const absl::Status status = Catch(absl::StatusCode::kUnavailable, [&] { mesh->Connect(rank, (*addresses)[rank]); });
    if (!status.ok()) return Annotate(status, absl::StrCat("rank ", rank, " came to the meeting, but cannot be reached"));
  }
  return std::make_unique<GlooTransport>(std::move(mesh));
}

}  // namespace polymoe
