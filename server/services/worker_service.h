// WorkerService: the stream of each worker daemon, and the list that people see.
#ifndef POLYMOE_SERVER_SERVICES_WORKER_SERVICE_H_
#define POLYMOE_SERVER_SERVICES_WORKER_SERVICE_H_

#include "polymoe/v1/worker.grpc.pb.h"

#include "server/coordinator/coordinator.h"
#include "server/metrics/fleet_metrics.h"

namespace polymoe {

class WorkerServiceImpl final : public v1::WorkerService::CallbackService {
 public:
  WorkerServiceImpl(Coordinator& coordinator, FleetMetrics& metrics) : coordinator_(coordinator), metrics_(metrics) {}

  grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* Session(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                 v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* DrainWorker(grpc::CallbackServerContext* context, const v1::DrainWorkerRequest* request,
                                        v1::Worker* response) override;

 private:
  Coordinator& coordinator_;
  FleetMetrics& metrics_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_WORKER_SERVICE_H_
