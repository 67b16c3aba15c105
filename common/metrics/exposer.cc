#include "common/metrics/exposer.h"

#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <exception>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "common/metrics/process_metrics.h"
#include "common/version.h"

namespace polymoe {

MetricsExposer::MetricsExposer() = default;
MetricsExposer::~MetricsExposer() = default;

absl::StatusOr<std::unique_ptr<MetricsExposer>> MetricsExposer::Start(const std::string& address, const std::string& program) {
  auto exposer = absl::WrapUnique(new MetricsExposer());
  try {  // civetweb's wrapper throws when the port is taken
    exposer->exposer_ = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/2);
  } catch (const std::exception& e) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address, ": ", e.what(), "; choose another --metrics address"));
  }
  const std::vector<int> ports = exposer->exposer_->GetListeningPorts();
  exposer->address_ = absl::StrCat(address.substr(0, address.rfind(':')), ":", ports.empty() ? 0 : ports[0]);
  exposer->registry_ = std::make_shared<prometheus::Registry>();
  exposer->process_ = std::make_shared<ProcessMetrics>();
  prometheus::BuildGauge()
      .Name("polymoe_build_info")
      .Help("Always 1; the version is in the label.")
      .Register(*exposer->registry_)
      .Add({{"program", program}, {"version", kVersion}})
      .Set(1);
  exposer->exposer_->RegisterCollectable(exposer->registry_);
  exposer->exposer_->RegisterCollectable(exposer->process_);
  return exposer;
}

void MetricsExposer::Add(const std::shared_ptr<prometheus::Collectable>& collectable) {
  exposer_->RegisterCollectable(collectable);
}

}  // namespace polymoe
