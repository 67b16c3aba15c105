// polymoe-server: the coordinator.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include <CLI/CLI.hpp>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/metrics/exposer.h"
#include "common/process.h"
#include "common/rpc/channel.h"
#include "common/status.h"
#include "common/version.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/stop_watch.h"
#include "server/curves/curve_book.h"
#include "server/metrics/ablation_collector.h"
#include "server/metrics/commit_exporter.h"
#include "server/metrics/curve_collector.h"
#include "server/services/ablation_service.h"
#include "server/services/job_service.h"
#include "server/services/metric_service.h"
#include "server/services/rendezvous_service.h"
#include "server/services/worker_service.h"
#include "server/store/store.h"

namespace polymoe {
namespace {

constexpr size_t kEndedRunsKept = 100, kEndedAblationsKept = 100;  // on /metrics

constexpr char kFooter[] = R"(Examples:
  polymoe-server                                        on 127.0.0.1:7070, store in ./polymoe.db
  polymoe-server --listen 127.0.0.1:0 --address-file a.json   on a free port that a.json names

SIGTERM and SIGINT end it; workers and their trainers go on and find it again when it is back within the lease.)";

struct Flags {
  std::string listen = "127.0.0.1:7070", metrics = "127.0.0.1:9464", store = "sqlite:polymoe.db", lease = "3s",
              start_timeout = "120s";
  std::string log_format = "text", address_file;
  size_t curve_runs_kept = 32;
};

absl::StatusOr<int64_t> Milliseconds(const std::string& flag, const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, " is '", text, "'; write a duration such as 10s or 2m"));
  }
  return absl::ToInt64Milliseconds(duration);
}

bool IsLoopback(const std::string& address) {
  return absl::StartsWith(address, "127.") || absl::StartsWith(address, "localhost:") || absl::StartsWith(address, "[::1]:");
}

absl::StatusOr<ClusterConfig> ToConfig(const Flags& flags) {
  ClusterConfig config;
  POLYMOE_ASSIGN_OR_RETURN(config.lease_ms, Milliseconds("--lease", flags.lease));
  POLYMOE_ASSIGN_OR_RETURN(config.start_timeout_ms, Milliseconds("--start-timeout", flags.start_timeout));
  config.heartbeat_ms = std::max<int64_t>(50, config.lease_ms / 6);
  if (!IsLoopback(flags.listen) || !IsLoopback(flags.metrics)) {
    return absl::InvalidArgumentError(
        "--listen and --metrics must be loopback addresses: this version has no TLS; put a TLS proxy in front");
  }
  return config;
}

absl::Status Serve(const Flags& flags) {
  const sigset_t signals = BlockStopSignals();
  POLYMOE_ASSIGN_OR_RETURN(const ClusterConfig config, ToConfig(flags));
  POLYMOE_ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, OpenStore(flags.store));
  CurveBook curves(*store);  // scrapes read it: it goes after the exposer
  POLYMOE_ASSIGN_OR_RETURN(const std::unique_ptr<MetricsExposer> exposer, MetricsExposer::Start(flags.metrics, "polymoe-server"));
  FleetMetrics fleet(exposer->registry());
  const auto exporter = std::make_shared<CommitExporter>(exposer->registry(), kEndedRunsKept);
  Coordinator coordinator(config, *store, Clock::Real(), fleet, [](const absl::Status& status) {
    LogError("store failed, ending: what is on disk is the truth", {{"error", std::string(status.message())}});
    std::_Exit(1);
  });
  coordinator.AddListener(exporter);
  const std::vector<std::shared_ptr<ViewCollector>> collectors = {
      std::make_shared<CurveCollector>([&curves](const v1::Job& job) { return curves.Get(job); }, flags.curve_runs_kept),
      std::make_shared<AblationCollector>(kEndedAblationsKept)};
  for (const auto& collector : collectors) {
    coordinator.AddListener(collector);
    exposer->Add(collector);
  }
  const auto stop_watch = std::make_shared<StopWatch>(coordinator);
  coordinator.AddListener(stop_watch);

  JobServiceImpl jobs(coordinator, fleet);
  AblationServiceImpl ablations(coordinator, fleet);
  MetricServiceImpl metrics(coordinator, curves, fleet);
  WorkerServiceImpl workers(coordinator, fleet);
  const auto rendezvous = std::make_shared<RendezvousServiceImpl>(coordinator, fleet);
  coordinator.AddListener(rendezvous);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port in use is an error, not a second server
  WatchConnections(builder);
  builder.AddListeningPort(flags.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&jobs);
  builder.RegisterService(&ablations);
  builder.RegisterService(&metrics);
  builder.RegisterService(&workers);
  builder.RegisterService(rendezvous.get());
  POLYMOE_RETURN_IF_ERROR(coordinator.Start());
  exporter->ShowAll(*coordinator.view());
  for (const auto& collector : collectors) collector->Show(coordinator.view());
  stop_watch->ShowAll(*coordinator.view());
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", flags.listen, ": the port is in use; stop what holds it or choose another --listen"));
  }
  const std::string address = absl::StrCat(flags.listen.substr(0, flags.listen.rfind(':')), ":", port);
  if (!flags.address_file.empty()) {
    POLYMOE_RETURN_IF_ERROR(WriteFileDurably(
        flags.address_file, absl::StrCat("{\"grpc\": \"", address, "\", \"metrics\": \"", exposer->address(), "\"}\n")));
  }
  LogInfo("serving",
          {{"grpc", address}, {"metrics", exposer->address()}, {"store", StoreForLog(flags.store)}, {"version", kVersion}});
  int received = 0;
  sigwait(&signals, &received);
  LogInfo("stopping", {{"signal", absl::StrCat(received)}});
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  coordinator.Stop();
  return absl::OkStatus();
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  polymoe::Flags flags;
  CLI::App app("The PolyMoE coordinator: schedules pretraining jobs onto workers and keeps their metrics.", "polymoe-server");
  app.footer(polymoe::kFooter);
  app.set_version_flag("--version", polymoe::kVersion);
  app.add_option("--listen", flags.listen, "gRPC address")->capture_default_str();
  app.add_option("--metrics", flags.metrics, "address of /metrics")->capture_default_str();
  app.add_option("--store", flags.store, "where jobs and metrics are kept: sqlite:PATH or postgresql://...")->capture_default_str();
  app.add_option("--lease", flags.lease, "a worker that is silent this long is lost")->capture_default_str();
  app.add_option("--start-timeout", flags.start_timeout, "ranks must train this soon after their launch")->capture_default_str();
  app.add_option("--curve-runs-kept", flags.curve_runs_kept, "ended runs whose curves stay on /metrics")->capture_default_str();
  app.add_option("--log-format", flags.log_format, "text or json")->check(CLI::IsMember({"text", "json"}))->capture_default_str();
  app.add_option("--address-file", flags.address_file, "written when ready: JSON with the addresses really used")
      ->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  polymoe::InitLog(
      {.format = flags.log_format == "json" ? polymoe::LogFormat::kJson : polymoe::LogFormat::kText, .program = "polymoe-server"});
  const absl::Status status = polymoe::Serve(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "polymoe-server: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? 2 : 1;
}
