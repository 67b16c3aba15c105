// MetricService: points from the store, through server/query and server/curves.
#ifndef POLYMOE_SERVER_SERVICES_METRIC_SERVICE_H_
#define POLYMOE_SERVER_SERVICES_METRIC_SERVICE_H_

#include "polymoe/v1/metric.grpc.pb.h"

#include "server/coordinator/coordinator.h"
#include "server/curves/curve_book.h"
#include "server/metrics/fleet_metrics.h"

namespace polymoe {

class MetricServiceImpl final : public v1::MetricService::CallbackService {
 public:
  MetricServiceImpl(Coordinator& coordinator, CurveBook& curves, FleetMetrics& metrics)
      : coordinator_(coordinator), curves_(curves), metrics_(metrics) {}

  grpc::ServerUnaryReactor* Query(grpc::CallbackServerContext* context, const v1::QueryRequest* request,
                                  v1::QueryResponse* response) override;
  grpc::ServerUnaryReactor* Compare(grpc::CallbackServerContext* context, const v1::CompareRequest* request,
                                    v1::CompareResponse* response) override;
  grpc::ServerUnaryReactor* CompareAblation(grpc::CallbackServerContext* context, const v1::CompareAblationRequest* request,
                                            v1::AblationComparison* response) override;
  grpc::ServerWriteReactor<v1::StreamResponse>* Stream(grpc::CallbackServerContext* context,
                                                       const v1::StreamRequest* request) override;

 private:
  Coordinator& coordinator_;
  CurveBook& curves_;
  FleetMetrics& metrics_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_METRIC_SERVICE_H_
