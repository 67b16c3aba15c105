#include "server/services/worker_service.h"

#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/rpc/status.h"
#include "server/services/call.h"

namespace polymoe {
namespace {

// What a worker says must not be able to break the coordinator: a slot that is there twice would be given away twice.
absl::Status CheckRegistration(const v1::WorkerMessage& message) {
  if (!message.has_register_() || message.register_().worker().empty())
    return absl::InvalidArgumentError("the first message of a session must register a worker by name");
  std::set<uint32_t> slots;
  for (const v1::Slot& slot : message.register_().slots()) {
    if (!slots.insert(slot.index()).second)
      return absl::InvalidArgumentError(
          absl::StrCat("worker ", message.register_().worker(), " has slot ", slot.index(), " twice"));
  }
  return absl::OkStatus();
}

// One worker's stream. The first message must register; everything goes to the coordinator in order. Owned by itself until OnDone;
// the coordinator shares it.
class WorkerStream final : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>,
                           public WorkerLink,
                           public std::enable_shared_from_this<WorkerStream> {
 public:
  static WorkerStream* Open(Coordinator& coordinator, const CallTimer& timer) {
    auto stream = std::make_shared<WorkerStream>(coordinator, timer);
    stream->self_ = stream;
    stream->StartRead(&stream->incoming_);
    return stream.get();
  }
  WorkerStream(Coordinator& coordinator, const CallTimer& timer) : coordinator_(coordinator), timer_(timer) {}

  void Send(const v1::CoordinatorMessage& message) override {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    outgoing_.push_back(message);
    WriteNext();
  }
  void Close() override { FinishOnce(grpc::Status(grpc::StatusCode::ABORTED, "this stream is over; connect again")); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      FinishOnce(grpc::Status::OK);
      return;
    }
    if (worker_.empty()) {
      if (const absl::Status valid = CheckRegistration(incoming_); !valid.ok()) {
        FinishOnce(ToGrpc(valid));
        return;
      }
      worker_ = incoming_.register_().worker();
      coordinator_.Connect(incoming_.register_(), shared_from_this());
    } else {
      coordinator_.Receive(shared_from_this(), worker_, incoming_);
    }
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    outgoing_.pop_front();
    if (ok && !finished_) WriteNext();
  }
  void OnCancel() override { FinishOnce(grpc::Status::CANCELLED); }
  void OnDone() override {
    if (!worker_.empty()) coordinator_.Disconnect(shared_from_this(), worker_);
    const auto keep = std::move(self_);
  }

  void FinishOnce(const grpc::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(finished_, true)) return;
    }
    timer_.Observe(status);
    Finish(status);
  }

  void WriteNext() {
    if (writing_ || outgoing_.empty()) return;
    writing_ = true;
    StartWrite(&outgoing_.front());
  }

  Coordinator& coordinator_;
  const CallTimer timer_;
  v1::WorkerMessage incoming_;
  std::string worker_;
  std::mutex mutex_;
  std::deque<v1::CoordinatorMessage> outgoing_;
  bool writing_ = false, finished_ = false;
  std::shared_ptr<WorkerStream> self_;
};

}  // namespace

grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* WorkerServiceImpl::Session(grpc::CallbackServerContext*) {
  return WorkerStream::Open(coordinator_, CallTimer(metrics_, "WorkerService/Session"));
}

grpc::ServerUnaryReactor* WorkerServiceImpl::List(grpc::CallbackServerContext* context, const v1::ListWorkersRequest*,
                                                  v1::ListWorkersResponse* response) {
  const Call call(metrics_, "WorkerService/List", context);
  const auto view = coordinator_.view();
  response->mutable_workers()->Assign(view->workers.begin(), view->workers.end());
  call.Finish(absl::OkStatus());
  return call.reactor();
}

grpc::ServerUnaryReactor* WorkerServiceImpl::DrainWorker(grpc::CallbackServerContext* context,
                                                         const v1::DrainWorkerRequest* request, v1::Worker* response) {
  const Call call(metrics_, "WorkerService/DrainWorker", context);
  const std::string& name = request->worker();  // the request lives until the call is finished
  coordinator_.DrainWorker(name, [this, call, name, response](const absl::Status& status) {
    for (const v1::Worker& worker : coordinator_.view()->workers) {
      if (worker.name() == name) *response = worker;
    }
    call.Finish(status);
  });
  return call.reactor();
}

}  // namespace polymoe
