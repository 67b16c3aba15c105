// The end of a unary call: one status conversion, one latency sample.
#ifndef POLYMOE_SERVER_SERVICES_CALL_H_
#define POLYMOE_SERVER_SERVICES_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"

#include "common/clock.h"
#include "common/rpc/status.h"
#include "server/metrics/fleet_metrics.h"

namespace polymoe {

// Made when the call comes in; copied into whatever completes it.
class Call {
 public:
  Call(FleetMetrics& metrics, const char* method, grpc::CallbackServerContext* context)
      : metrics_(&metrics), method_(method), reactor_(context->DefaultReactor()), start_(Clock::Real().Monotonic()) {}

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

  void Finish(const absl::Status& status) const {
    metrics_->ObserveRpc(method_, absl::StatusCodeToString(status.code()), Clock::Real().Monotonic() - start_);
    reactor_->Finish(ToGrpc(status));
  }

  template <class Answer>
  void Finish(absl::StatusOr<Answer> answer, Answer* response) const {
    if (!answer.ok()) return Finish(answer.status());
    *response = *std::move(answer);
    Finish(absl::OkStatus());
  }

 private:
  FleetMetrics* metrics_;
  const char* method_;
  grpc::ServerUnaryReactor* reactor_;
  absl::Duration start_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_CALL_H_
