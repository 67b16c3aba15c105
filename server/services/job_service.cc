#include "server/services/job_service.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"

#include "common/spec/job_file.h"
#include "common/spec/ranks.h"
#include "server/services/call.h"
#include "server/services/job_streams.h"
#include "server/services/page.h"

namespace polymoe {
namespace {

bool Matches(const v1::Job& job, const v1::ListJobsRequest& request) {
  if (request.states_size() > 0 &&
      std::find(request.states().begin(), request.states().end(), job.state()) == request.states().end()) {
    return false;
  }
  const auto& labels = job.file().metadata().labels();
  for (const auto& [key, value] : request.labels()) {
    const auto it = labels.find(key);
    if (it == labels.end() || it->second != value) return false;
  }
  return absl::StartsWith(job.file().metadata().name(), request.name_prefix());
}

absl::StatusOr<v1::ListJobsResponse> ListPage(const View& view, const v1::ListJobsRequest& request) {
  const auto page = PageOf(
      view.jobs, [&](const v1::Job& job) { return Matches(job, request); }, request.page_size(), request.page_token());
  if (!page.ok()) return page.status();
  v1::ListJobsResponse response;
  for (const auto& job : page->items) *response.add_jobs() = *job;
  response.set_next_page_token(page->next_token);
  return response;
}

// What the scheduler would say to this job if it came now.
v1::Waiting WouldWait(const View& view, const v1::JobFile& file) {
  SchedulerInput input{.jobs = {{.id = "", .ranks = RankChoices(file.spec())}}};
  for (const v1::Worker& worker : view.workers) {
    if (!worker.connected() || worker.draining()) continue;
    OpenWorker open{.name = worker.name(), .slots = static_cast<uint32_t>(worker.slots_size())};
    for (int i = worker.running_size(); i < worker.slots_size(); ++i) open.free_slots.push_back(i);
    input.workers.push_back(std::move(open));
  }
  const Plan plan = Schedule(input, {}, 0);
  v1::Waiting waiting;
  if (plan.waits.empty()) return waiting;
  waiting.set_reason(plan.waits[0].kind == WaitKind::kNoWorkers         ? v1::WAIT_REASON_NO_WORKERS
                     : plan.waits[0].kind == WaitKind::kClusterTooSmall ? v1::WAIT_REASON_CLUSTER_TOO_SMALL
                                                                        : v1::WAIT_REASON_SLOTS_BUSY);
  waiting.set_detail(plan.waits[0].detail);
  return waiting;
}

}  // namespace

grpc::ServerUnaryReactor* JobServiceImpl::Submit(grpc::CallbackServerContext* context, const v1::SubmitRequest* request,
                                                 v1::SubmitResponse* response) {
  const Call call(metrics_, "JobService/Submit", context);
  v1::SubmitRequest complete = *request;
  absl::Status valid = CompleteJobFile(complete.mutable_file());
  if (valid.ok() && complete.request_id().empty())
    valid = absl::InvalidArgumentError("requestId is missing: a UUID that makes a repeated submit safe");
  if (!valid.ok()) {
    call.Finish(valid);
  } else {
    coordinator_.Submit(complete,
                        [call, response](absl::StatusOr<v1::SubmitResponse> answer) { call.Finish(std::move(answer), response); });
  }
  return call.reactor();
}

grpc::ServerUnaryReactor* JobServiceImpl::Validate(grpc::CallbackServerContext* context, const v1::ValidateRequest* request,
                                                   v1::ValidateResponse* response) {
  const Call call(metrics_, "JobService/Validate", context);
  *response->mutable_file() = request->file();
  const absl::Status valid = CompleteJobFile(response->mutable_file());
  if (valid.ok()) {
    const v1::Waiting waiting = WouldWait(*coordinator_.view(), response->file());
    if (waiting.reason() != v1::WAIT_REASON_UNSPECIFIED) *response->mutable_would_wait() = waiting;
  }
  call.Finish(valid);
  return call.reactor();
}

grpc::ServerUnaryReactor* JobServiceImpl::Get(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                              v1::Job* response) {
  const Call call(metrics_, "JobService/Get", context);
  const auto job = coordinator_.view()->Find(request->job());
  if (job.ok()) *response = **job;
  call.Finish(job.status());
  return call.reactor();
}

grpc::ServerUnaryReactor* JobServiceImpl::List(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                               v1::ListJobsResponse* response) {
  const Call call(metrics_, "JobService/List", context);
  call.Finish(ListPage(*coordinator_.view(), *request), response);
  return call.reactor();
}

grpc::ServerUnaryReactor* JobServiceImpl::Cancel(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                                 v1::Job* response) {
  const Call call(metrics_, "JobService/Cancel", context);
  const auto job = coordinator_.view()->Find(request->job());
  if (!job.ok()) {
    call.Finish(job.status());
  } else {
    coordinator_.Cancel((*job)->id(),
                        [call, response](absl::StatusOr<v1::Job> answer) { call.Finish(std::move(answer), response); });
  }
  return call.reactor();
}

grpc::ServerWriteReactor<v1::WatchJobsResponse>* JobServiceImpl::Watch(grpc::CallbackServerContext*,
                                                                       const v1::WatchJobsRequest* request) {
  const CallTimer timer(metrics_, "JobService/Watch");
  const std::shared_ptr<const View> view = coordinator_.view();
  std::set<std::string> ids;
  for (const std::string& name : request->jobs()) {
    const auto job = view->Find(name);
    if (!job.ok()) {
      const auto stream = StreamWriter<v1::WatchJobsResponse>::Open(std::make_shared<JobWatch>(std::set<std::string>{}), timer);
      stream->End(ToGrpc(job.status()));
      return stream.get();
    }
    ids.insert((*job)->id());
  }
  const auto stream = StreamWriter<v1::WatchJobsResponse>::Open(std::make_shared<JobWatch>(std::move(ids)), timer);
  coordinator_.AddListener(stream);
  stream->ShowAll(*coordinator_.view());  // after the listener is there, so that no change falls between
  return stream.get();
}

grpc::ServerWriteReactor<v1::LogLine>* JobServiceImpl::StreamLogs(grpc::CallbackServerContext*,
                                                                  const v1::StreamLogsRequest* request) {
  const auto job = coordinator_.view()->Find(request->job());
  const auto stream = StreamWriter<v1::LogLine>::Open(std::make_shared<LogFollow>(*request, job.ok() ? (*job)->id() : ""),
                                                      CallTimer(metrics_, "JobService/StreamLogs"));
  if (!job.ok()) {
    stream->End(ToGrpc(job.status()));
    return stream.get();
  }
  if (request->follow()) coordinator_.AddListener(stream);
  // The view before the rows: what a job had printed when it was over is then among them.
  const std::shared_ptr<const View> before = coordinator_.view();
  stream->ShowHistory(*before, coordinator_.store().ReadLogs((*job)->id(), request->attempt(), request->rank()));
  return stream.get();
}

}  // namespace polymoe
