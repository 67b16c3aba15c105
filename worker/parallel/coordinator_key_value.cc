#include "worker/parallel/coordinator_key_value.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "polymoe/v1/rendezvous.grpc.pb.h"

#include "common/clock.h"
#include "common/rpc/channel.h"
#include "common/rpc/status.h"

namespace polymoe {
namespace {

constexpr size_t kLongestKey = 256, kLargestValue = 64 << 10;
constexpr auto kPutAgain = std::chrono::seconds(1);
// A call that hangs, because what it hangs on has gone without a word, is made again.
constexpr absl::Duration kLongestCall = absl::Seconds(10);
constexpr absl::Duration kPause = absl::Milliseconds(50);  // after a call that failed

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsCancelled(status) || absl::IsDeadlineExceeded(status);
}

absl::Duration Now() {
  return Clock::Real().Monotonic();
}

// A call that waits for a connection, `limit` at most.
struct Context : grpc::ClientContext {
  explicit Context(absl::Duration limit) {
    set_wait_for_ready(true);
    set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(limit));
  }
};

class CoordinatorKeyValue : public KeyValue {
 public:
  CoordinatorKeyValue(std::string server, const std::shared_ptr<grpc::Channel>& channel, const std::string& job, uint32_t attempt)
      : server_(std::move(server)), stub_(v1::RendezvousService::NewStub(channel)) {
    scope_.set_job(job);
    scope_.set_attempt(attempt);
    keeper_ = std::thread([this] { KeepPutting(); });
  }
  CoordinatorKeyValue(const CoordinatorKeyValue&) = delete;
  ~CoordinatorKeyValue() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      if (putting_ != nullptr) putting_->TryCancel();
    }
    changed_.notify_all();
    keeper_.join();
  }

  // Left to the keeper; an attempt that is over is found by Wait.
  absl::Status Put(const std::string& key, const std::string& value) override {
    if (key.size() > kLongestKey || value.size() > kLargestValue) {
      return absl::InvalidArgumentError(absl::StrCat("the coordinator takes keys of 256 bytes and values of 64 KiB, not ",
                                                     key.size(), " and ", value.size(), " bytes"));
    }
    {
      const std::lock_guard lock(mutex_);
      own_[key] = value;
      unput_ = true;
    }
    changed_.notify_all();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> Wait(const std::vector<std::string>& keys, absl::Duration until) override {
    v1::WaitRequest request;
    *request.mutable_scope() = scope_;
    request.mutable_keys()->Assign(keys.begin(), keys.end());
    while (true) {
      Context context(std::min(until - Now(), kLongestCall));
      v1::WaitResponse response;
      const absl::Status status = FromGrpc(stub_->Wait(&context, request, &response));
      if (status.ok()) return std::vector<std::string>(response.values().begin(), response.values().end());
      if (!IsTransient(status)) return status;
      if (Now() >= until) return Missing(keys);
      if (!absl::IsDeadlineExceeded(status)) absl::SleepFor(kPause);
    }
  }

 private:
  void KeepPutting() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      unput_ = false;
      const std::map<std::string, std::string> own = own_;
      for (const auto& [key, value] : own) {
        v1::PutRequest request;
        *request.mutable_scope() = scope_;
        request.set_key(key);
        request.set_value(value);
        v1::PutResponse response;
        Context context(kLongestCall);
        putting_ = &context;
        lock.unlock();
        const grpc::Status status = stub_->Put(&context, request, &response);
        lock.lock();
        putting_ = nullptr;
        if (stopping_ || !status.ok()) break;  // again after a pause
      }
      changed_.wait_for(lock, kPutAgain, [this] { return stopping_ || unput_; });
    }
  }

  absl::Status Missing(const std::vector<std::string>& keys) {
    std::vector<std::string> missing;
    for (const std::string& key : keys) {
      Context context(absl::Seconds(1));
      v1::GetRequest request;
      *request.mutable_scope() = scope_;
      request.set_key(key);
      v1::GetResponse response;
      const absl::Status status = FromGrpc(stub_->Get(&context, request, &response));
      if (absl::IsNotFound(status)) missing.push_back(key);
      if (IsTransient(status)) {
        return absl::DeadlineExceededError(absl::StrCat("the coordinator at ", server_, " does not answer: ", status.message()));
      }
    }
    return absl::DeadlineExceededError(absl::StrCat("nobody has put ", absl::StrJoin(missing, ", ")));
  }

  const std::string server_;
  const std::unique_ptr<v1::RendezvousService::Stub> stub_;
  v1::RendezvousScope scope_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> own_;
  bool unput_ = false, stopping_ = false;
  grpc::ClientContext* putting_ = nullptr;  // the keeper's call
  std::thread keeper_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KeyValue>> OpenCoordinatorKeyValue(const std::string& server, const std::string& job,
                                                                  uint32_t attempt) {
  auto channel = OpenChannel(server);
  if (!channel.ok()) return channel.status();
  return std::make_unique<CoordinatorKeyValue>(server, *channel, job, attempt);
}

}  // namespace polymoe
