#include "server/services/ablation_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/spec/ablation.h"
#include "server/services/ablation_watch.h"
#include "server/services/page.h"

namespace polymoe {
namespace {

bool IsWanted(const v1::Ablation& ablation, const v1::ListAblationsRequest& request) {
  return request.states().empty() ||
         std::find(request.states().begin(), request.states().end(), ablation.state()) != request.states().end();
}

absl::StatusOr<v1::ListAblationsResponse> ListPage(const View& view, const v1::ListAblationsRequest& request) {
  const auto page = PageOf(
      view.ablations, [&](const v1::Ablation& ablation) { return IsWanted(ablation, request); }, request.page_size(),
      request.page_token());
  if (!page.ok()) return page.status();
  v1::ListAblationsResponse response;
  for (const auto& ablation : page->items) *response.add_ablations() = WithProgress(*ablation, view);
  response.set_next_page_token(page->next_token);
  return response;
}

}  // namespace

AblationServiceImpl::Done AblationServiceImpl::Answer(const Call& call, v1::Ablation* response) {
  return [this, call, response](absl::StatusOr<v1::Ablation> answer) {
    if (answer.ok()) answer = WithProgress(*answer, *coordinator_.view());
    call.Finish(std::move(answer), response);
  };
}

grpc::ServerUnaryReactor* AblationServiceImpl::Submit(grpc::CallbackServerContext* context,
                                                      const v1::SubmitAblationRequest* request,
                                                      v1::SubmitAblationResponse* response) {
  const Call call(metrics_, "AblationService/Submit", context);
  v1::SubmitAblationRequest complete = *request;
  absl::Status valid = CompleteAblationFile(complete.mutable_file());
  if (valid.ok() && complete.request_id().empty())
    valid = absl::InvalidArgumentError("requestId is missing: a UUID that makes a repeated submit safe");
  if (!valid.ok()) {
    call.Finish(valid);
    return call.reactor();
  }
  coordinator_.SubmitAblation(complete, [this, call, response](absl::StatusOr<v1::SubmitAblationResponse> answer) {
    if (answer.ok()) *answer->mutable_ablation() = WithProgress(answer->ablation(), *coordinator_.view());
    call.Finish(std::move(answer), response);
  });
  return call.reactor();
}

grpc::ServerUnaryReactor* AblationServiceImpl::Get(grpc::CallbackServerContext* context, const v1::GetAblationRequest* request,
                                                   v1::Ablation* response) {
  const Call call(metrics_, "AblationService/Get", context);
  const std::shared_ptr<const View> view = coordinator_.view();
  const auto ablation = view->FindAblation(request->ablation());
  if (ablation.ok()) *response = WithProgress(**ablation, *view);
  call.Finish(ablation.status());
  return call.reactor();
}

grpc::ServerUnaryReactor* AblationServiceImpl::List(grpc::CallbackServerContext* context, const v1::ListAblationsRequest* request,
                                                    v1::ListAblationsResponse* response) {
  const Call call(metrics_, "AblationService/List", context);
  call.Finish(ListPage(*coordinator_.view(), *request), response);
  return call.reactor();
}

grpc::ServerWriteReactor<v1::WatchAblationResponse>* AblationServiceImpl::Watch(grpc::CallbackServerContext*,
                                                                                const v1::WatchAblationRequest* request) {
  const auto ablation = coordinator_.view()->FindAblation(request->ablation());
  const auto stream = StreamWriter<v1::WatchAblationResponse>::Open(
      std::make_shared<AblationWatch>(ablation.ok() ? (*ablation)->id() : ""), CallTimer(metrics_, "AblationService/Watch"));
  if (!ablation.ok()) {
    stream->End(ToGrpc(ablation.status()));
    return stream.get();
  }
  coordinator_.AddListener(stream);
  stream->ShowAll(*coordinator_.view());  // after the listener is there, so that no change falls between
  return stream.get();
}

grpc::ServerUnaryReactor* AblationServiceImpl::Apply(const Call& call, const std::string& id_or_name, Change change,
                                                     v1::Ablation* response) {
  const auto ablation = coordinator_.view()->FindAblation(id_or_name);
  if (!ablation.ok()) {
    call.Finish(ablation.status());
  } else {
    (coordinator_.*change)((*ablation)->id(), Answer(call, response));
  }
  return call.reactor();
}

grpc::ServerUnaryReactor* AblationServiceImpl::Pause(grpc::CallbackServerContext* context, const v1::PauseAblationRequest* request,
                                                     v1::Ablation* response) {
  return Apply(Call(metrics_, "AblationService/Pause", context), request->ablation(), &Coordinator::PauseAblation, response);
}

grpc::ServerUnaryReactor* AblationServiceImpl::Resume(grpc::CallbackServerContext* context,
                                                      const v1::ResumeAblationRequest* request, v1::Ablation* response) {
  return Apply(Call(metrics_, "AblationService/Resume", context), request->ablation(), &Coordinator::ResumeAblation, response);
}

grpc::ServerUnaryReactor* AblationServiceImpl::Cancel(grpc::CallbackServerContext* context,
                                                      const v1::CancelAblationRequest* request, v1::Ablation* response) {
  return Apply(Call(metrics_, "AblationService/Cancel", context), request->ablation(), &Coordinator::CancelAblation, response);
}

grpc::ServerUnaryReactor* AblationServiceImpl::AddArm(grpc::CallbackServerContext* context, const v1::AddArmRequest* request,
                                                      v1::Ablation* response) {
  const Call call(metrics_, "AblationService/AddArm", context);
  const auto ablation = coordinator_.view()->FindAblation(request->ablation());
  if (!ablation.ok()) {
    call.Finish(ablation.status());
    return call.reactor();
  }
  v1::AddArmRequest by_id = *request;
  by_id.set_ablation((*ablation)->id());
  coordinator_.AddArm(by_id, Answer(call, response));
  return call.reactor();
}

}  // namespace polymoe
