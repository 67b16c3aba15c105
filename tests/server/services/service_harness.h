// The services as clients meet them: over gRPC on loopback, with the real coordinator behind them and a store in memory.
#ifndef POLYMOE_TESTS_SERVER_SERVICES_SERVICE_HARNESS_H_
#define POLYMOE_TESTS_SERVER_SERVICES_SERVICE_HARNESS_H_

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/spec/job_file.h"
#include "server/coordinator/coordinator.h"
#include "server/metrics/fleet_metrics.h"
#include "server/services/ablation_service.h"
#include "server/services/job_service.h"
#include "server/services/metric_service.h"
#include "server/services/rendezvous_service.h"
#include "server/services/worker_service.h"
#include "tests/server/fake_store.h"
#include "tests/server/state/cluster_harness.h"

namespace polymoe {

// A context that ends a test that would hang.
struct TestContext : grpc::ClientContext {
  TestContext() { set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60)); }
};

// A valid job file; `set` is more of spec, in YAML.
inline v1::JobFile ServiceFile(const std::string& name, const std::string& set = "", const std::string& labels = "") {
  auto file = ParseJobFile(
      absl::StrCat("apiVersion: polymoe/v1\nkind: Job\nmetadata: {name: ", name, ", labels: {", labels,
                   "}}\nspec:\n  model: {layers: 1, hidden: 8, heads: 1, ffn: 8, experts: 2, topK: 1, vocab: 257, activation: "
                   "{kind: relu}}\n"
                   "  data: {train: /d, sequenceLength: 8}\n  train: {tokens: 1k}\n  restart: {backoffSeconds: 0.001}\n",
                   set),
      "job.yaml");
  POLYMOE_CHECK(file.ok(), "%s", file.status().ToString().c_str());
  return *std::move(file);
}

// What a worker daemon does on its stream, when the test says so.
class WorkerSession {
 public:
  explicit WorkerSession(const std::shared_ptr<grpc::Channel>& channel)
      : stream_(v1::WorkerService::NewStub(channel)->Session(&context_)) {}
  // Ends the call if it still runs.
  ~WorkerSession() {
    context_.TryCancel();
    if (!finished_) Finish();
  }

  void Write(const v1::WorkerMessage& message) { stream_->Write(message); }
  // Waits for the answer.
  v1::Registered Register(const v1::Register& registration) {
    v1::WorkerMessage message;
    *message.mutable_register_() = registration;
    Write(message);
    return Next(&v1::CoordinatorMessage::has_registered).registered();
  }
  void Send(v1::Report report) {
    report.set_sequence(++sequence_);
    v1::WorkerMessage message;
    *message.mutable_report() = std::move(report);
    Write(message);
  }
  // Returns when it is committed and everybody who listens has heard of it.
  void Report(v1::Report report) {
    Send(std::move(report));
    while (Next(&v1::CoordinatorMessage::has_report_ack).report_ack().sequence() < sequence_) {
    }
  }
  // The next message of a kind; others are kept for later calls.
  v1::CoordinatorMessage Next(bool (v1::CoordinatorMessage::*is_kind)() const) {
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      if (!((*it).*is_kind)()) continue;
      v1::CoordinatorMessage found = *it;
      kept_.erase(it);
      return found;
    }
    v1::CoordinatorMessage message;
    while (true) {
      POLYMOE_CHECK(stream_->Read(&message), "the session ended");
      if ((message.*is_kind)()) return message;
      kept_.push_back(message);
    }
  }
  v1::Launch NextLaunch() { return Next(&v1::CoordinatorMessage::has_launch).launch(); }
  // Hangs up. The coordinator has taken everything that was sent when it returns.
  grpc::Status Leave() {
    stream_->WritesDone();
    return Finish();
  }
  // Reads to the end and gives the status of the call.
  grpc::Status Finish() {
    finished_ = true;
    v1::CoordinatorMessage message;
    while (stream_->Read(&message)) {
    }
    return stream_->Finish();
  }

 private:
  TestContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;
  std::deque<v1::CoordinatorMessage> kept_;
  uint64_t sequence_ = 0;
  bool finished_ = false;
};

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() {
    coordinator_.AddListener(rendezvous_);
    POLYMOE_CHECK(coordinator_.Start().ok());
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    for (grpc::Service* service :
         std::vector<grpc::Service*>{&job_service_, &ablation_service_, &metric_service_, &worker_service_, rendezvous_.get()}) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
    POLYMOE_CHECK(server_ != nullptr);
    address_ = absl::StrCat("127.0.0.1:", port);
    channel_ = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
    jobs_ = v1::JobService::NewStub(channel_);
    ablations_ = v1::AblationService::NewStub(channel_);
    metrics_ = v1::MetricService::NewStub(channel_);
    workers_ = v1::WorkerService::NewStub(channel_);
    spaces_ = v1::RendezvousService::NewStub(channel_);
  }
  ~ServiceTest() override {
    server_->Shutdown(std::chrono::system_clock::now());
    coordinator_.Stop();
  }

  grpc::Status Submit(const std::string& request_id, const v1::JobFile& file, v1::SubmitResponse* response) {
    TestContext context;
    return jobs_->Submit(&context, Request(request_id, file), response);
  }
  // The id of a new job.
  std::string Submit(const v1::JobFile& file) {
    v1::SubmitResponse response;
    const grpc::Status status = Submit(absl::StrCat("request ", ++requests_), file, &response);
    POLYMOE_CHECK(status.ok(), "%s", status.error_message().c_str());
    return response.job().id();
  }
  // A new job that trains on `worker`, which has registered and has a free slot.
  std::string Train(const v1::JobFile& file, WorkerSession& worker) {
    std::string id = Submit(file);
    const v1::Launch launch = worker.NextLaunch();
    POLYMOE_CHECK(launch.job() == id);
    for (const v1::Placement& placement : launch.placements()) worker.Report(Started(Ref(id, launch.attempt(), placement.rank())));
    return id;
  }
  v1::Job Get(const std::string& job) {
    TestContext context;
    v1::GetJobRequest request;
    request.set_job(job);
    v1::Job response;
    jobs_->Get(&context, request, &response);
    return response;
  }
  // Returns when everything that was sent before is committed and heard of.
  void Settle() {
    TestContext context;
    v1::CancelJobRequest request;
    request.set_job("no such job");
    v1::Job response;
    jobs_->Cancel(&context, request, &response);
  }

  FakeStore store_;
  prometheus::Registry registry_;
  FleetMetrics fleet_{registry_};
  Coordinator coordinator_{{.lease_ms = 3'600'000}, store_, Clock::Real(), fleet_, [](const absl::Status& status) {
                             POLYMOE_CHECK(false, "%s", status.ToString().c_str());
                           }};
  JobServiceImpl job_service_{coordinator_, fleet_};
  AblationServiceImpl ablation_service_{coordinator_, fleet_};
  MetricServiceImpl metric_service_{coordinator_, fleet_};
  WorkerServiceImpl worker_service_{coordinator_, fleet_};
  std::shared_ptr<RendezvousServiceImpl> rendezvous_ = std::make_shared<RendezvousServiceImpl>(coordinator_, fleet_);
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::AblationService::Stub> ablations_;
  std::unique_ptr<v1::MetricService::Stub> metrics_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
  std::unique_ptr<v1::RendezvousService::Stub> spaces_;
  int requests_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_SERVER_SERVICES_SERVICE_HARNESS_H_
