#include "worker/daemon/session.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <memory>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/worker.grpc.pb.h"

#include "common/log.h"
#include "common/rpc/channel.h"
#include "common/version.h"
#include "worker/daemon/daemon_metrics.h"
#include "worker/daemon/outbox.h"
#include "worker/daemon/supervisor.h"

namespace polymoe {
namespace {

// For a coordinator that takes the connection and then says nothing; there is no lease yet to run out.
constexpr absl::Duration kRegisterTimeout = absl::Seconds(20);

}  // namespace

void ActiveStream::Set(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  context_ = context;
}

void ActiveStream::Cancel() {
  const std::lock_guard lock(mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

Session::Session(SessionOptions options, const Clock& clock, ActiveStream* stream, Outbox* outbox, Supervisor* supervisor,
                 DaemonMetrics* metrics, std::function<void()> on_drain)
    : options_(std::move(options)),
      clock_(clock),
      stream_(stream),
      outbox_(outbox),
      supervisor_(supervisor),
      metrics_(metrics),
      on_drain_(std::move(on_drain)) {
  thread_ = std::thread([this] { Run(); });
}

Session::~Session() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  stream_->Cancel();
  changed_.notify_all();
  thread_.join();
}

void Session::AnnounceDrain() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  outbox_->Interrupt();
}

void Session::Run() {
  std::minstd_rand random(std::random_device{}());
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int failures = 0;;) {
    failures = RunStream() ? 1 : failures + 1;
    const absl::Duration delay = ReconnectDelay(failures, uniform(random));
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, absl::ToChronoNanoseconds(delay), [this] { return ended_; })) return;
  }
}

bool Session::RunStream() {
  // A channel of its own for each stream, so that a dead connection is not used again.
  const auto channel = OpenChannel(options_.server);
  if (!channel.ok()) {
    LogEnd(false, std::string(channel.status().message()));
    return false;
  }
  const auto stub = v1::WorkerService::NewStub(*channel);
  grpc::ClientContext context;
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return false;
    stream_->Set(&context);
    phase_ = Phase::kRegistering;
  }
  const auto stream = stub->Session(&context);  // returns when connected, or when that failed
  register_sent_ = clock_.Monotonic();
  stream->Write(RegisterMessage());  // a failure shows in Read too
  std::thread writer([this, &stream] { WriteLoop([&stream](const v1::WorkerMessage& m) { return stream->Write(m); }); });
  v1::CoordinatorMessage message;
  while (stream->Read(&message)) Handle(message);  // false: the whole stream is over, so a blocked Write ends too

  bool registered;
  {
    const std::lock_guard lock(mutex_);
    registered = phase_ == Phase::kRegistered;
    phase_ = Phase::kOver;
  }
  changed_.notify_all();
  outbox_->Interrupt();
  writer.join();
  const grpc::Status status = stream->Finish();
  stream_->Set(nullptr);
  metrics_->connected.Set(0);
  LogEnd(registered, status.ok() ? "the coordinator ended the session" : status.error_message());
  return registered;
}

bool Session::WaitUntilRegistered() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoNanoseconds(kRegisterTimeout), [this] { return phase_ != Phase::kRegistering; });
  if (phase_ == Phase::kRegistering) stream_->Cancel();
  return phase_ == Phase::kRegistered;
}

void Session::WriteLoop(const Send& send) {
  if (!WaitUntilRegistered()) return;
  bool told_drain = false;
  absl::Duration next_heartbeat = clock_.Monotonic();
  while (true) {
    v1::WorkerMessage own;
    std::shared_ptr<const v1::WorkerMessage> report;
    const absl::Duration now = clock_.Monotonic();
    {
      const std::lock_guard lock(mutex_);
      if (phase_ != Phase::kRegistered) return;
      if (draining_ && !told_drain) {
        told_drain = true;
        own.set_draining(true);
      } else if (now >= next_heartbeat) {
        own.mutable_heartbeat()->set_sequence(lease_.HeartbeatSent(now));
        next_heartbeat = now + heartbeat_interval_;
      }
    }
    if (own.message_case() == v1::WorkerMessage::MESSAGE_NOT_SET) {
      report = outbox_->Next(next_heartbeat - now);
      if (report == nullptr) continue;
    }
    if (!send(report == nullptr ? own : *report)) return;  // Read fails too
  }
}

void Session::Handle(const v1::CoordinatorMessage& message) {
  switch (message.message_case()) {
    case v1::CoordinatorMessage::kRegistered:
      HandleRegistered(message.registered());
      break;
    case v1::CoordinatorMessage::kHeartbeatAck: {
      const std::lock_guard lock(mutex_);
      lease_.HeartbeatAcknowledged(message.heartbeat_ack().sequence());
      supervisor_->RenewLease(lease_.deadline());
      break;
    }
    case v1::CoordinatorMessage::kLaunch:
      supervisor_->Launch(message.launch());
      break;
    case v1::CoordinatorMessage::kStop:
      supervisor_->Stop(message.stop().job(), message.stop().attempt(), absl::Milliseconds(message.stop().grace_ms()));
      break;
    case v1::CoordinatorMessage::kReportAck:
      outbox_->Acknowledge(message.report_ack().sequence());
      break;
    case v1::CoordinatorMessage::kDrain:
      on_drain_();
      break;
    case v1::CoordinatorMessage::MESSAGE_NOT_SET:  // of a newer coordinator
      break;
  }
}

void Session::HandleRegistered(const v1::Registered& registered) {
  if (registered.lease_ms() <= 0 || registered.heartbeat_ms() <= 0) {
    LogError("the coordinator's answer to the registration has no lease or no heartbeat interval");
    stream_->Cancel();
    return;
  }
  outbox_->Rewind();
  {
    const std::lock_guard lock(mutex_);
    heartbeat_interval_ = absl::Milliseconds(registered.heartbeat_ms());
    lease_.Registered(absl::Milliseconds(registered.lease_ms()), register_sent_);
    supervisor_->RenewLease(lease_.deadline());
    phase_ = Phase::kRegistered;
  }
  changed_.notify_all();
  metrics_->connected.Set(1);
  if (std::exchange(registered_before_, true)) metrics_->reconnects.Increment();
  last_error_.clear();
  LogInfo("registered with the coordinator", {{"server", options_.server}, {"worker", options_.worker}});
}

v1::WorkerMessage Session::RegisterMessage() const {
  v1::WorkerMessage message;
  v1::Register* self = message.mutable_register_();
  self->set_worker(options_.worker);
  self->set_instance(options_.instance);
  self->set_host(options_.host);
  self->set_version(kVersion);
  const SupervisorOptions& node = supervisor_->options();
  for (uint32_t i = 0; i < node.slots; ++i) {
    v1::Slot* slot = self->add_slots();
    slot->set_index(i);
    slot->set_device("cpu");
    slot->set_threads(node.threads_per_slot);
  }
  // A rank whose end still waits here counts as running, so that its real end is what the coordinator hears first. The order of the
  // two calls matters: an end is in the outbox before the supervisor forgets the rank.
  std::vector<v1::RankRef> ranks = supervisor_->Running();
  for (v1::RankRef& ended : outbox_->UnacknowledgedExits()) ranks.push_back(std::move(ended));
  const auto key = [](const v1::RankRef& r) { return std::make_tuple(r.job(), r.attempt(), r.rank()); };
  std::sort(ranks.begin(), ranks.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  const auto end = std::unique(ranks.begin(), ranks.end(), [&](const auto& a, const auto& b) { return key(a) == key(b); });
  for (auto rank = ranks.begin(); rank != end; ++rank) *self->add_running() = std::move(*rank);
  return message;
}

void Session::LogEnd(bool registered, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
  }
  // The same failure again and again is said once.
  if (!registered && reason == last_error_) return;
  last_error_ = reason;
  LogWarning(
      registered ? "connection to the coordinator lost; reconnecting" : "cannot reach the coordinator; trying until it answers",
      {{"server", options_.server}, {"error", reason}});
}

}  // namespace polymoe
