// RendezvousService: key-value spaces in memory, one an attempt, dropped when the attempt ends.
#ifndef POLYMOE_SERVER_SERVICES_RENDEZVOUS_SERVICE_H_
#define POLYMOE_SERVER_SERVICES_RENDEZVOUS_SERVICE_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "polymoe/v1/rendezvous.grpc.pb.h"

#include "server/coordinator/coordinator.h"
#include "server/metrics/fleet_metrics.h"

namespace polymoe {

class RendezvousServiceImpl final : public v1::RendezvousService::CallbackService, public CommitListener {
 public:
  RendezvousServiceImpl(Coordinator& coordinator, FleetMetrics& metrics) : coordinator_(coordinator), metrics_(metrics) {}

  grpc::ServerUnaryReactor* Put(grpc::CallbackServerContext* context, const v1::PutRequest* request,
                                v1::PutResponse* response) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                v1::GetResponse* response) override;
  grpc::ServerUnaryReactor* Wait(grpc::CallbackServerContext* context, const v1::WaitRequest* request,
                                 v1::WaitResponse* response) override;

  // Drops the spaces of attempts that are over; who waits there gets FAILED_PRECONDITION.
  void OnCommit(const Committed& committed) override;

 private:
  using Scope = std::pair<std::string, uint32_t>;  // job, attempt
  class Waiter;
  struct Space {
    std::map<std::string, std::string> values;
    std::vector<std::shared_ptr<Waiter>> waiters;
  };
  absl::Status CheckScope(const v1::RendezvousScope& scope) const;
  void Forget(const Scope& scope, const std::shared_ptr<Waiter>& waiter);

  Coordinator& coordinator_;
  FleetMetrics& metrics_;
  std::mutex mutex_;
  std::map<Scope, Space> spaces_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_RENDEZVOUS_SERVICE_H_
