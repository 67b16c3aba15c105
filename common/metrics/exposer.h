// The /metrics endpoint of a daemon. Families are made once, by whoever owns them, on the registry that is handed to them.
#ifndef POLYMOE_COMMON_METRICS_EXPOSER_H_
#define POLYMOE_COMMON_METRICS_EXPOSER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace prometheus {
class Exposer;
class Registry;
class Collectable;
}  // namespace prometheus

namespace polymoe {

class MetricsExposer {
 public:
  // Serves http://ADDRESS/metrics until destroyed. "127.0.0.1:0" takes a free port. Process metrics (CPU, memory, descriptors) and
  // polymoe_build_info are on it from the start.
  static absl::StatusOr<std::unique_ptr<MetricsExposer>> Start(const std::string& address, const std::string& program);
  ~MetricsExposer();

  prometheus::Registry& registry() { return *registry_; }
  // Families that are made at each scrape, on threads of the exposer. Held weakly: they leave by being destroyed.
  void Add(const std::shared_ptr<prometheus::Collectable>& collectable);
  // Host:port that is really listened on.
  const std::string& address() const { return address_; }

 private:
  MetricsExposer();

  std::string address_;
  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<prometheus::Collectable> process_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace polymoe

#endif  // POLYMOE_COMMON_METRICS_EXPOSER_H_
