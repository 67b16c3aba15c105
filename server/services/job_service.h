// JobService: validates, hands to the coordinator, reads from its view.
#ifndef POLYMOE_SERVER_SERVICES_JOB_SERVICE_H_
#define POLYMOE_SERVER_SERVICES_JOB_SERVICE_H_

#include "polymoe/v1/job.grpc.pb.h"

#include "server/coordinator/coordinator.h"
#include "server/metrics/fleet_metrics.h"

namespace polymoe {

class JobServiceImpl final : public v1::JobService::CallbackService {
 public:
  JobServiceImpl(Coordinator& coordinator, FleetMetrics& metrics) : coordinator_(coordinator), metrics_(metrics) {}

  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext* context, const v1::SubmitRequest* request,
                                   v1::SubmitResponse* response) override;
  grpc::ServerUnaryReactor* Validate(grpc::CallbackServerContext* context, const v1::ValidateRequest* request,
                                     v1::ValidateResponse* response) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetJobRequest* request, v1::Job* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                 v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* Cancel(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                   v1::Job* response) override;
  grpc::ServerWriteReactor<v1::WatchJobsResponse>* Watch(grpc::CallbackServerContext* context,
                                                         const v1::WatchJobsRequest* request) override;
  grpc::ServerWriteReactor<v1::LogLine>* StreamLogs(grpc::CallbackServerContext* context,
                                                    const v1::StreamLogsRequest* request) override;

 private:
  Coordinator& coordinator_;
  FleetMetrics& metrics_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_JOB_SERVICE_H_
