// Calls to the coordinator. Every call has a deadline, and every error says what to do next. Thread-safe.
#ifndef POLYMOE_POLYCTL_CLIENT_H_
#define POLYMOE_POLYCTL_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job.pb.h"
#include "polymoe/v1/metric.pb.h"
#include "polymoe/v1/worker.pb.h"

namespace grpc {
class Channel;
class ClientContext;
class Status;
}  // namespace grpc

namespace polymoe::polyctl {

struct ClientOptions {
  absl::Duration call_timeout = absl::Seconds(10);
  // For how long Submit and the streams try again while the coordinator is away (a restart takes seconds).
  absl::Duration patience = absl::Seconds(30);
};

class Client {
 public:
  // INVALID_ARGUMENT for an address that channel.h refuses. Connects on first use.
  static absl::StatusOr<Client> Open(const std::string& server, const ClientOptions& options = {});

  // Tried again with the same request id, so that at most one job comes of it. A coordinator that was never there, or never answered,
  // fails at once.
  absl::StatusOr<v1::SubmitResponse> Submit(const v1::SubmitRequest& request) const;
  absl::StatusOr<v1::ValidateResponse> Validate(const v1::JobFile& file) const;
  absl::StatusOr<v1::Job> Get(const std::string& job) const;
  // All pages.
  absl::StatusOr<std::vector<v1::Job>> List(v1::ListJobsRequest request) const;
  absl::StatusOr<v1::Job> Cancel(const std::string& job) const;
  absl::StatusOr<v1::QueryResponse> Query(const v1::QueryRequest& request) const;
  absl::StatusOr<v1::CompareResponse> Compare(const v1::CompareRequest& request) const;
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers() const;
  absl::StatusOr<v1::Worker> DrainWorker(const std::string& worker) const;

  // Gives each watched job (none named: all) now and whenever it changes, until `on_job` returns false, the deadline is over
  // (DEADLINE_EXCEEDED) or the coordinator is away for longer than the patience; one that does not answer at the start fails at once.
  // A broken stream is opened again; a job that did not change meanwhile is not given twice.
  absl::Status Watch(const std::vector<std::string>& jobs, absl::Time deadline,
                     const std::function<bool(const v1::Job&)>& on_job) const;

  // The same for ablations (client_ablation.cc). SubmitAblation is as safe to repeat as Submit.
  absl::StatusOr<v1::SubmitAblationResponse> SubmitAblation(const v1::SubmitAblationRequest& request) const;
  absl::StatusOr<v1::Ablation> GetAblation(const std::string& ablation) const;
  absl::StatusOr<std::vector<v1::Ablation>> ListAblations(v1::ListAblationsRequest request) const;
  absl::StatusOr<v1::Ablation> PauseAblation(const std::string& ablation) const;
  absl::StatusOr<v1::Ablation> ResumeAblation(const std::string& ablation) const;
  absl::StatusOr<v1::Ablation> CancelAblation(const std::string& ablation) const;
  absl::StatusOr<v1::Ablation> AddArm(const v1::AddArmRequest& request) const;
  absl::StatusOr<v1::AblationComparison> CompareAblation(const v1::CompareAblationRequest& request) const;
  // Gives the ablation and those of its jobs that changed, first all of them, until `on_update` returns false or the ablation is final.
  // Opens a broken stream again as Watch does; all jobs come again then.
  absl::Status WatchAblation(const std::string& ablation,
                             const std::function<bool(const v1::WatchAblationResponse&)>& on_update) const;

  // Lines in order. With request.follow until the job has ended; a broken stream is opened again without repeating a line.
  absl::Status Logs(const v1::StreamLogsRequest& request, const std::function<void(const v1::LogLine&)>& on_line) const;

  const std::string& server() const { return server_; }

 private:
  Client(std::string server, std::shared_ptr<grpc::Channel> channel, const ClientOptions& options)
      : server_(std::move(server)), channel_(std::move(channel)), options_(options) {}

  // A small call: does the coordinator answer? A stream alone could not tell: one without news is silent.
  grpc::Status Probe(absl::Time deadline) const;
  // `call(context)` with the call's deadline; its error with the next step.
  absl::Status Call(const std::function<grpc::Status(grpc::ClientContext*)>& call) const;
  // Call, again and again while the answer may have been lost and the patience lasts: for calls that are safe to repeat. A coordinator
  // that was never there fails at once.
  absl::Status Insist(const std::function<grpc::Status(grpc::ClientContext*)>& call) const;
  absl::Status Explain(const grpc::Status& status) const;
  // Runs `open` (one stream; true: it delivered something) until it succeeds, fails for good, or the patience is over.
  absl::Status Persist(absl::Time deadline, const std::function<grpc::Status(grpc::ClientContext*, bool*)>& open) const;

  std::string server_;
  std::shared_ptr<grpc::Channel> channel_;
  ClientOptions options_;
};

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_CLIENT_H_
