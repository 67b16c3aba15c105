// The calls of client.h about ablations.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <utility>

#include "polymoe/v1/ablation.grpc.pb.h"
#include "polymoe/v1/metric.grpc.pb.h"

#include "common/spec/names.h"
#include "common/status.h"
#include "polyctl/client.h"
#include "polyctl/render/ablation.h"

namespace polymoe::polyctl {

absl::StatusOr<v1::SubmitAblationResponse> Client::SubmitAblation(const v1::SubmitAblationRequest& request) const {
  v1::SubmitAblationResponse response;
  POLYMOE_RETURN_IF_ERROR(
      Insist([&](auto* context) { return v1::AblationService::NewStub(channel_)->Submit(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::Ablation> Client::GetAblation(const std::string& ablation) const {
  v1::GetAblationRequest request;
  request.set_ablation(ablation);
  v1::Ablation response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::AblationService::NewStub(channel_)->Get(context, request, &response); }));
  return response;
}

absl::StatusOr<std::vector<v1::Ablation>> Client::ListAblations(v1::ListAblationsRequest request) const {
  std::vector<v1::Ablation> ablations;
  do {
    v1::ListAblationsResponse response;
    POLYMOE_RETURN_IF_ERROR(
        Call([&](auto* context) { return v1::AblationService::NewStub(channel_)->List(context, request, &response); }));
    for (v1::Ablation& ablation : *response.mutable_ablations()) ablations.push_back(std::move(ablation));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return ablations;
}

absl::StatusOr<v1::Ablation> Client::PauseAblation(const std::string& ablation) const {
  v1::PauseAblationRequest request;
  request.set_ablation(ablation);
  v1::Ablation response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::AblationService::NewStub(channel_)->Pause(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::Ablation> Client::ResumeAblation(const std::string& ablation) const {
  v1::ResumeAblationRequest request;
  request.set_ablation(ablation);
  v1::Ablation response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::AblationService::NewStub(channel_)->Resume(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::Ablation> Client::CancelAblation(const std::string& ablation) const {
  v1::CancelAblationRequest request;
  request.set_ablation(ablation);
  v1::Ablation response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::AblationService::NewStub(channel_)->Cancel(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::Ablation> Client::AddArm(const v1::AddArmRequest& request) const {
  v1::Ablation response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::AblationService::NewStub(channel_)->AddArm(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::AblationComparison> Client::CompareAblation(const v1::CompareAblationRequest& request) const {
  v1::AblationComparison response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::MetricService::NewStub(channel_)->CompareAblation(context, request, &response); }));
  return response;
}

absl::Status Client::WatchAblation(const std::string& ablation,
                                   const std::function<bool(const v1::WatchAblationResponse&)>& on_update) const {
  const auto stub = v1::AblationService::NewStub(channel_);
  v1::WatchAblationRequest request;
  request.set_ablation(ablation);
  bool over = false;
  return Persist(absl::InfiniteFuture(), [&](grpc::ClientContext* context, bool* delivered) {
    const auto reader = stub->Watch(context, request);
    v1::WatchAblationResponse response;
    while (reader->Read(&response)) {
      *delivered = true;
      over = IsFinal(response.ablation().state());
      request.set_ablation(response.ablation().id());  // a name means the newest of that name, which may be another one later
      if (on_update(response)) continue;
      context->TryCancel();
      reader->Finish();
      return grpc::Status::OK;
    }
    const grpc::Status status = reader->Finish();
    // The stream of a coordinator that shuts down may end well too.
    return status.ok() && !over ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the coordinator ended the stream") : status;
  });
}

}  // namespace polymoe::polyctl
