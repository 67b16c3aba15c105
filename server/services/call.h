// What every call ends with: one latency sample, and for a unary one the status conversion.
#ifndef POLYMOE_SERVER_SERVICES_CALL_H_
#define POLYMOE_SERVER_SERVICES_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"

#include "common/clock.h"
#include "common/rpc/status.h"
#include "server/metrics/fleet_metrics.h"

namespace polymoe {

// Made when the call comes in, asked once when it ends.
class CallTimer {
 public:
  CallTimer(FleetMetrics& metrics, const char* method) : metrics_(&metrics), method_(method), start_(Clock::Real().Monotonic()) {}

  void Observe(absl::StatusCode code) const {
    metrics_->ObserveRpc(method_, absl::StatusCodeToString(code), Clock::Real().Monotonic() - start_);
  }
  void Observe(const grpc::Status& status) const { Observe(static_cast<absl::StatusCode>(status.error_code())); }

 private:
  FleetMetrics* metrics_;
  const char* method_;
  absl::Duration start_;
};

// Made when the call comes in; copied into whatever completes it.
class Call {
 public:
  Call(FleetMetrics& metrics, const char* method, grpc::CallbackServerContext* context)
      : timer_(metrics, method), reactor_(context->DefaultReactor()) {}

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

  void Finish(const absl::Status& status) const {
    timer_.Observe(status.code());
    reactor_->Finish(ToGrpc(status));
  }

  template <class Answer>
  void Finish(absl::StatusOr<Answer> answer, Answer* response) const {
    if (!answer.ok()) return Finish(answer.status());
    *response = *std::move(answer);
    Finish(absl::OkStatus());
  }

 private:
  CallTimer timer_;
  grpc::ServerUnaryReactor* reactor_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_CALL_H_
