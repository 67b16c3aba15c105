// AblationService: validates, hands to the coordinator, reads from its view. Every answer has the progress of that moment.
#ifndef POLYMOE_SERVER_SERVICES_ABLATION_SERVICE_H_
#define POLYMOE_SERVER_SERVICES_ABLATION_SERVICE_H_

#include <string>

#include "polymoe/v1/ablation.grpc.pb.h"

#include "server/coordinator/coordinator.h"
#include "server/metrics/fleet_metrics.h"
#include "server/services/call.h"

namespace polymoe {

class AblationServiceImpl final : public v1::AblationService::CallbackService {
 public:
  AblationServiceImpl(Coordinator& coordinator, FleetMetrics& metrics) : coordinator_(coordinator), metrics_(metrics) {}

  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext* context, const v1::SubmitAblationRequest* request,
                                   v1::SubmitAblationResponse* response) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetAblationRequest* request,
                                v1::Ablation* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const v1::ListAblationsRequest* request,
                                 v1::ListAblationsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchAblationResponse>* Watch(grpc::CallbackServerContext* context,
                                                             const v1::WatchAblationRequest* request) override;
  grpc::ServerUnaryReactor* Pause(grpc::CallbackServerContext* context, const v1::PauseAblationRequest* request,
                                  v1::Ablation* response) override;
  grpc::ServerUnaryReactor* Resume(grpc::CallbackServerContext* context, const v1::ResumeAblationRequest* request,
                                   v1::Ablation* response) override;
  grpc::ServerUnaryReactor* Cancel(grpc::CallbackServerContext* context, const v1::CancelAblationRequest* request,
                                   v1::Ablation* response) override;
  grpc::ServerUnaryReactor* AddArm(grpc::CallbackServerContext* context, const v1::AddArmRequest* request,
                                   v1::Ablation* response) override;

 private:
  using Done = Coordinator::AblationDone;
  using Change = void (Coordinator::*)(const std::string& id, const Done& done);

  // Finishes the call with the ablation and its progress.
  Done Answer(const Call& call, v1::Ablation* response);
  // One that names an ablation by id or name and changes it.
  grpc::ServerUnaryReactor* Apply(const Call& call, const std::string& id_or_name, Change change, v1::Ablation* response);

  Coordinator& coordinator_;
  FleetMetrics& metrics_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_ABLATION_SERVICE_H_
