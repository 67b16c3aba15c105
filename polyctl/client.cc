#include "polyctl/client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"

#include "polymoe/v1/job.grpc.pb.h"
#include "polymoe/v1/metric.grpc.pb.h"
#include "polymoe/v1/worker.grpc.pb.h"

#include "common/rpc/channel.h"
#include "common/rpc/status.h"
#include "common/status.h"

namespace polymoe::polyctl {
namespace {

// A stream is opened anew after this long, so that a coordinator that hangs does not hang us for ever.
constexpr absl::Duration kStreamLife = absl::Minutes(5);

bool MayPass(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNAVAILABLE || code == grpc::StatusCode::RESOURCE_EXHAUSTED;
}

// gRPC names what failed after all that it failed in: "failed to connect to all addresses; ...: Connection refused".
absl::string_view Reason(absl::string_view message) {
  const size_t colon = message.rfind(": ");
  return colon == absl::string_view::npos ? message : message.substr(colon + 2);
}

}  // namespace

absl::StatusOr<Client> Client::Open(const std::string& server, const ClientOptions& options) {
  POLYMOE_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(server));
  return Client(server, std::move(channel), options);
}

grpc::Status Client::Probe(absl::Time deadline) const {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(std::min(deadline, absl::Now() + options_.call_timeout)));
  v1::ListJobsRequest request;
  request.set_page_size(1);
  v1::ListJobsResponse response;
  return v1::JobService::NewStub(channel_)->List(&context, request, &response);
}

absl::Status Client::Explain(const grpc::Status& status) const {
  const std::string& message = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      // Ready: it was the coordinator itself that said so.
      if (channel_->GetState(false) == GRPC_CHANNEL_READY) return absl::UnavailableError(message);
      return absl::UnavailableError(absl::StrCat("no coordinator at ", server_, " (", Reason(message),
                                                 "); start one with `polyctl local up` or set POLYMOE_SERVER"));
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return absl::UnavailableError(message);  // overloaded: passes, unlike a full disk of ours
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(
          absl::StrCat("the coordinator at ", server_, " did not answer in time; try again, or look at its log"));
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnimplementedError(absl::StrCat(server_, " does not know this call (", message,
                                                   "); is it a PolyMoE coordinator of the same version as this polyctl?"));
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return absl::Status(FromGrpc(status).code(), absl::StrCat("the coordinator at ", server_, " failed: ", message));
    default:
      return FromGrpc(status);
  }
}

absl::Status Client::Call(const std::function<grpc::Status(grpc::ClientContext*)>& call) const {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + options_.call_timeout));
  const grpc::Status status = call(&context);
  return status.ok() ? absl::OkStatus() : Explain(status);
}

absl::Status Client::Insist(const std::function<grpc::Status(grpc::ClientContext*)>& call) const {
  if (const grpc::Status there = Probe(absl::InfiniteFuture()); !there.ok()) return Explain(there);
  const absl::Time give_up = absl::Now() + options_.patience;
  for (absl::Duration wait = absl::Milliseconds(200);; wait = std::min(wait * 2, absl::Seconds(2))) {
    grpc::StatusCode code;
    absl::Status status = Call([&](grpc::ClientContext* context) {
      grpc::Status result = call(context);
      code = result.error_code();
      return result;
    });
    // Broken in the middle: nobody knows whether it was done.
    const bool again = MayPass(code) || code == grpc::StatusCode::DEADLINE_EXCEEDED;
    if (status.ok() || !again || absl::Now() + wait > give_up) return status;
    absl::SleepFor(wait);
  }
}

absl::StatusOr<v1::SubmitResponse> Client::Submit(const v1::SubmitRequest& request) const {
  v1::SubmitResponse response;
  POLYMOE_RETURN_IF_ERROR(
      Insist([&](auto* context) { return v1::JobService::NewStub(channel_)->Submit(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::ValidateResponse> Client::Validate(const v1::JobFile& file) const {
  v1::ValidateRequest request;
  *request.mutable_file() = file;
  v1::ValidateResponse response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::JobService::NewStub(channel_)->Validate(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::Job> Client::Get(const std::string& job) const {
  v1::GetJobRequest request;
  request.set_job(job);
  v1::Job response;
  POLYMOE_RETURN_IF_ERROR(Call([&](auto* context) { return v1::JobService::NewStub(channel_)->Get(context, request, &response); }));
  return response;
}

absl::StatusOr<std::vector<v1::Job>> Client::List(v1::ListJobsRequest request) const {
  std::vector<v1::Job> jobs;
  do {
    v1::ListJobsResponse response;
    POLYMOE_RETURN_IF_ERROR(
        Call([&](auto* context) { return v1::JobService::NewStub(channel_)->List(context, request, &response); }));
    for (v1::Job& job : *response.mutable_jobs()) jobs.push_back(std::move(job));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return jobs;
}

absl::StatusOr<v1::Job> Client::Cancel(const std::string& job) const {
  v1::CancelJobRequest request;
  request.set_job(job);
  v1::Job response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::JobService::NewStub(channel_)->Cancel(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::QueryResponse> Client::Query(const v1::QueryRequest& request) const {
  v1::QueryResponse response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::MetricService::NewStub(channel_)->Query(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::CompareResponse> Client::Compare(const v1::CompareRequest& request) const {
  v1::CompareResponse response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::MetricService::NewStub(channel_)->Compare(context, request, &response); }));
  return response;
}

absl::StatusOr<v1::ListWorkersResponse> Client::ListWorkers() const {
  v1::ListWorkersResponse response;
  POLYMOE_RETURN_IF_ERROR(Call(
      [&](auto* context) { return v1::WorkerService::NewStub(channel_)->List(context, v1::ListWorkersRequest(), &response); }));
  return response;
}

absl::StatusOr<v1::Worker> Client::DrainWorker(const std::string& worker) const {
  v1::DrainWorkerRequest request;
  request.set_worker(worker);
  v1::Worker response;
  POLYMOE_RETURN_IF_ERROR(
      Call([&](auto* context) { return v1::WorkerService::NewStub(channel_)->DrainWorker(context, request, &response); }));
  return response;
}

absl::Status Client::Persist(absl::Time deadline, const std::function<grpc::Status(grpc::ClientContext*, bool*)>& open) const {
  std::optional<absl::Time> away_since;
  for (bool first = true;; first = false) {
    grpc::Status status = Probe(deadline);
    if (first && !status.ok()) return Explain(status);
    const bool answers = status.ok();
    bool delivered = false;
    if (answers) {
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(std::min(deadline, absl::Now() + kStreamLife)));
      status = open(&context, &delivered);
      if (status.ok()) return absl::OkStatus();
    }
    const absl::Time now = absl::Now();
    const bool too_late = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
    if (now >= deadline) return absl::DeadlineExceededError("the time is over");
    const bool life_over = answers && too_late;
    if (delivered || life_over) away_since.reset();
    if (life_over) continue;
    if (!away_since.has_value()) away_since = now;
    if (!(MayPass(status.error_code()) || too_late) || now - *away_since >= options_.patience) return Explain(status);
    absl::SleepFor(std::min(absl::Milliseconds(500), deadline - now));
  }
}

absl::Status Client::Watch(const std::vector<std::string>& jobs, absl::Time deadline,
                           const std::function<bool(const v1::Job&)>& on_job) const {
  const auto stub = v1::JobService::NewStub(channel_);
  v1::WatchJobsRequest request;
  for (const std::string& job : jobs) request.add_jobs(job);
  std::map<std::string, uint64_t> revisions;  // newest given, by job
  return Persist(deadline, [&](grpc::ClientContext* context, bool* delivered) {
    const auto reader = stub->Watch(context, request);
    v1::WatchJobsResponse response;
    while (reader->Read(&response)) {
      *delivered = true;
      const auto [seen, is_new] = revisions.try_emplace(response.job().id(), response.job().revision());
      if (!is_new && seen->second == response.job().revision()) continue;
      seen->second = response.job().revision();
      if (on_job(response.job())) continue;
      context->TryCancel();
      reader->Finish();
      return grpc::Status::OK;
    }
    const grpc::Status status = reader->Finish();
    // The stream of a coordinator that shuts down may end well; we are done only when on_job says so.
    return status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the coordinator ended the stream") : status;
  });
}

absl::Status Client::Logs(const v1::StreamLogsRequest& request, const std::function<void(const v1::LogLine&)>& on_line) const {
  const auto stub = v1::JobService::NewStub(channel_);
  std::optional<std::pair<uint32_t, uint64_t>> first;  // attempt and number of the first line given
  std::map<uint32_t, uint64_t> given;                  // number of the newest one, by attempt
  v1::StreamLogsRequest rest = request;
  return Persist(absl::InfiniteFuture(), [&](grpc::ClientContext* context, bool* delivered) {
    const auto reader = stub->StreamLogs(context, rest);
    v1::LogLine line;
    while (reader->Read(&line)) {
      *delivered = true;
      const std::pair<uint32_t, uint64_t> place(line.attempt(), line.number());
      if (!first) first = place;
      if (place < *first || place.second <= given[line.attempt()]) continue;
      given[line.attempt()] = line.number();
      rest.set_tail(0);  // when opened again: all, of which we skip what we had and what the tail left out
      on_line(line);
    }
    return reader->Finish();
  });
}

}  // namespace polymoe::polyctl
