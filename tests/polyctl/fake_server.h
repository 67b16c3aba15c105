// A coordinator that answers as a test tells it: each call is a function of the test; one that is not set is UNIMPLEMENTED, except List,
// by which clients ask whether anyone is there.
#ifndef POLYMOE_TESTS_POLYCTL_FAKE_SERVER_H_
#define POLYMOE_TESTS_POLYCTL_FAKE_SERVER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/ablation.grpc.pb.h"
#include "polymoe/v1/job.grpc.pb.h"
#include "polymoe/v1/metric.grpc.pb.h"
#include "polymoe/v1/worker.grpc.pb.h"

#include "common/check.h"

namespace polymoe::polyctl {

template <class Request, class Response>
using Unary = std::function<grpc::Status(const Request&, Response*)>;
template <class Request, class Response>
using Streaming = std::function<grpc::Status(const Request&, grpc::ServerContext*, grpc::ServerWriter<Response>*)>;

template <class Function, class... Arguments>
grpc::Status Answer(const Function& function, Arguments&&... arguments) {
  return function ? function(arguments...) : grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "not in this test");
}

class FakeJobService final : public v1::JobService::Service {
 public:
  Unary<v1::SubmitRequest, v1::SubmitResponse> submit;
  Unary<v1::ValidateRequest, v1::ValidateResponse> validate;
  Unary<v1::GetJobRequest, v1::Job> get;
  Unary<v1::ListJobsRequest, v1::ListJobsResponse> list = [](auto&, auto*) { return grpc::Status::OK; };
  Unary<v1::CancelJobRequest, v1::Job> cancel;
  Streaming<v1::WatchJobsRequest, v1::WatchJobsResponse> watch;
  Streaming<v1::StreamLogsRequest, v1::LogLine> logs;

 private:
  grpc::Status Submit(grpc::ServerContext*, const v1::SubmitRequest* q, v1::SubmitResponse* r) override {
    return Answer(submit, *q, r);
  }
  grpc::Status Validate(grpc::ServerContext*, const v1::ValidateRequest* q, v1::ValidateResponse* r) override {
    return Answer(validate, *q, r);
  }
  grpc::Status Get(grpc::ServerContext*, const v1::GetJobRequest* q, v1::Job* r) override { return Answer(get, *q, r); }
  grpc::Status List(grpc::ServerContext*, const v1::ListJobsRequest* q, v1::ListJobsResponse* r) override {
    return Answer(list, *q, r);
  }
  grpc::Status Cancel(grpc::ServerContext*, const v1::CancelJobRequest* q, v1::Job* r) override { return Answer(cancel, *q, r); }
  grpc::Status Watch(grpc::ServerContext* c, const v1::WatchJobsRequest* q, grpc::ServerWriter<v1::WatchJobsResponse>* w) override {
    return Answer(watch, *q, c, w);
  }
  grpc::Status StreamLogs(grpc::ServerContext* c, const v1::StreamLogsRequest* q, grpc::ServerWriter<v1::LogLine>* w) override {
    return Answer(logs, *q, c, w);
  }
};

class FakeMetricService final : public v1::MetricService::Service {
 public:
  Unary<v1::QueryRequest, v1::QueryResponse> query;
  Unary<v1::CompareRequest, v1::CompareResponse> compare;
  Unary<v1::CompareAblationRequest, v1::AblationComparison> compare_ablation;

 private:
  grpc::Status Query(grpc::ServerContext*, const v1::QueryRequest* q, v1::QueryResponse* r) override {
    return Answer(query, *q, r);
  }
  grpc::Status Compare(grpc::ServerContext*, const v1::CompareRequest* q, v1::CompareResponse* r) override {
    return Answer(compare, *q, r);
  }
  grpc::Status CompareAblation(grpc::ServerContext*, const v1::CompareAblationRequest* q, v1::AblationComparison* r) override {
    return Answer(compare_ablation, *q, r);
  }
};

class FakeAblationService final : public v1::AblationService::Service {
 public:
  Unary<v1::SubmitAblationRequest, v1::SubmitAblationResponse> submit;
  Unary<v1::GetAblationRequest, v1::Ablation> get;
  Unary<v1::ListAblationsRequest, v1::ListAblationsResponse> list;
  Streaming<v1::WatchAblationRequest, v1::WatchAblationResponse> watch;
  Unary<v1::PauseAblationRequest, v1::Ablation> pause;
  Unary<v1::ResumeAblationRequest, v1::Ablation> resume;
  Unary<v1::CancelAblationRequest, v1::Ablation> cancel;
  Unary<v1::AddArmRequest, v1::Ablation> add_arm;

 private:
  grpc::Status Submit(grpc::ServerContext*, const v1::SubmitAblationRequest* q, v1::SubmitAblationResponse* r) override {
    return Answer(submit, *q, r);
  }
  grpc::Status Get(grpc::ServerContext*, const v1::GetAblationRequest* q, v1::Ablation* r) override { return Answer(get, *q, r); }
  grpc::Status List(grpc::ServerContext*, const v1::ListAblationsRequest* q, v1::ListAblationsResponse* r) override {
    return Answer(list, *q, r);
  }
  grpc::Status Watch(grpc::ServerContext* c, const v1::WatchAblationRequest* q,
                     grpc::ServerWriter<v1::WatchAblationResponse>* w) override {
    return Answer(watch, *q, c, w);
  }
  grpc::Status Pause(grpc::ServerContext*, const v1::PauseAblationRequest* q, v1::Ablation* r) override {
    return Answer(pause, *q, r);
  }
  grpc::Status Resume(grpc::ServerContext*, const v1::ResumeAblationRequest* q, v1::Ablation* r) override {
    return Answer(resume, *q, r);
  }
  grpc::Status Cancel(grpc::ServerContext*, const v1::CancelAblationRequest* q, v1::Ablation* r) override {
    return Answer(cancel, *q, r);
  }
  grpc::Status AddArm(grpc::ServerContext*, const v1::AddArmRequest* q, v1::Ablation* r) override { return Answer(add_arm, *q, r); }
};

class FakeWorkerService final : public v1::WorkerService::Service {
 public:
  v1::ListWorkersResponse workers;

 private:
  grpc::Status List(grpc::ServerContext*, const v1::ListWorkersRequest*, v1::ListWorkersResponse* r) override {
    *r = workers;
    return grpc::Status::OK;
  }
};

// All of it, on a free port of loopback. Set the functions before the first call.
class FakeServer {
 public:
  FakeServer() { Start(); }
  ~FakeServer() { Stop(); }

  // The same after a restart.
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  void Start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&jobs);
    builder.RegisterService(&metrics);
    builder.RegisterService(&workers);
    builder.RegisterService(&ablations);
    server_ = builder.BuildAndStart();
    POLYMOE_CHECK(server_ != nullptr, "cannot listen on %s", address().c_str());
  }
  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  FakeJobService jobs;
  FakeMetricService metrics;
  FakeWorkerService workers;
  FakeAblationService ablations;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace polymoe::polyctl

#endif  // POLYMOE_TESTS_POLYCTL_FAKE_SERVER_H_
