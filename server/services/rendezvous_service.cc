#include "server/services/rendezvous_service.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/rpc/status.h"
#include "server/services/call.h"

namespace polymoe {
namespace {

constexpr size_t kLongestKey = 256, kLargestValue = 64 << 10;

bool IsLive(const View& view, const std::string& job, uint32_t attempt) {
  const auto it = view.jobs.find(job);
  if (it == view.jobs.end() || it->second->attempts().empty()) return false;
  const v1::Attempt& newest = *it->second->attempts().rbegin();
  return newest.number() == attempt && newest.ended_ms() == 0 && !newest.stopping();
}

}  // namespace

// A Wait call that is not answered yet. Answered once: with the values, by a cancelled call, or when the attempt ends.
class RendezvousServiceImpl::Waiter final : public grpc::ServerUnaryReactor {
 public:
  Waiter(RendezvousServiceImpl& service, Scope scope, const v1::WaitRequest& request, v1::WaitResponse* response)
      : service_(service),
        timer_(service.metrics_, "RendezvousService/Wait"),
        scope_(std::move(scope)),
        request_(request),
        response_(response) {}

  // True when it is answered now or was before. The service's lock is held.
  bool TryAnswer(const std::map<std::string, std::string>& values) {
    for (const std::string& key : request_.keys()) {
      if (!values.contains(key)) return answered_;
    }
    if (answered_) return true;
    for (const std::string& key : request_.keys()) response_->add_values(values.at(key));
    Answer(grpc::Status::OK);
    return true;
  }
  void Answer(const grpc::Status& status) {
    if (std::exchange(answered_, true)) return;
    timer_.Observe(status);
    Finish(status);
  }

  std::shared_ptr<Waiter> self;

 private:
  void OnCancel() override { service_.Forget(scope_, self); }
  void OnDone() override { const auto keep = std::move(self); }

  RendezvousServiceImpl& service_;
  const CallTimer timer_;
  const Scope scope_;
  const v1::WaitRequest request_;
  v1::WaitResponse* response_;
  bool answered_ = false;
};

absl::Status RendezvousServiceImpl::CheckScope(const v1::RendezvousScope& scope) const {
  if (IsLive(*coordinator_.view(), scope.job(), scope.attempt())) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("attempt ", scope.attempt(), " of job ", scope.job(), " is not running"));
}

grpc::ServerUnaryReactor* RendezvousServiceImpl::Put(grpc::CallbackServerContext* context, const v1::PutRequest* request,
                                                     v1::PutResponse*) {
  const Call call(metrics_, "RendezvousService/Put", context);
  absl::Status status = CheckScope(request->scope());
  if (request->key().size() > kLongestKey || request->value().size() > kLargestValue) {
    status = absl::InvalidArgumentError("a key has at most 256 bytes and a value at most 64 KiB");
  }
  if (status.ok()) {
    const std::lock_guard lock(mutex_);
    Space& space = spaces_[{request->scope().job(), request->scope().attempt()}];
    space.values[request->key()] = request->value();
    std::erase_if(space.waiters, [&](const auto& waiter) { return waiter->TryAnswer(space.values); });
  }
  call.Finish(status);
  return call.reactor();
}

grpc::ServerUnaryReactor* RendezvousServiceImpl::Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                                     v1::GetResponse* response) {
  const Call call(metrics_, "RendezvousService/Get", context);
  absl::Status status = CheckScope(request->scope());
  if (status.ok()) {
    const std::lock_guard lock(mutex_);
    const auto& values = spaces_[{request->scope().job(), request->scope().attempt()}].values;
    const auto it = values.find(request->key());
    if (it == values.end()) {
      status = absl::NotFoundError(absl::StrCat("no key '", request->key(), "'"));
    } else {
      response->set_value(it->second);
    }
  }
  call.Finish(status);
  return call.reactor();
}

grpc::ServerUnaryReactor* RendezvousServiceImpl::Wait(grpc::CallbackServerContext*, const v1::WaitRequest* request,
                                                      v1::WaitResponse* response) {
  const Scope scope = {request->scope().job(), request->scope().attempt()};
  auto waiter = std::make_shared<Waiter>(*this, scope, *request, response);
  waiter->self = waiter;
  Waiter* reactor = waiter.get();
  const std::lock_guard lock(mutex_);
  if (const absl::Status status = CheckScope(request->scope()); !status.ok()) {
    waiter->Answer(ToGrpc(status));
  } else if (Space& space = spaces_[scope]; !waiter->TryAnswer(space.values)) {
    space.waiters.push_back(std::move(waiter));
  }
  return reactor;
}

void RendezvousServiceImpl::Forget(const Scope& scope, const std::shared_ptr<Waiter>& waiter) {
  const std::lock_guard lock(mutex_);
  if (const auto space = spaces_.find(scope); space != spaces_.end()) std::erase(space->second.waiters, waiter);
  if (waiter != nullptr) waiter->Answer(grpc::Status::CANCELLED);
}

void RendezvousServiceImpl::OnCommit(const Committed& committed) {
  const std::lock_guard lock(mutex_);
  std::erase_if(spaces_, [&](auto& entry) {
    if (IsLive(*committed.view, entry.first.first, entry.first.second)) return false;
    for (const auto& waiter : entry.second.waiters) {
      waiter->Answer(grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "the attempt is over"));
    }
    return true;
  });
}

}  // namespace polymoe
