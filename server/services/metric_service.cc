#include "server/services/metric_service.h"

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/status.h"
#include "server/curves/job_points.h"
#include "server/query/series.h"
#include "server/services/call.h"
#include "server/services/stream_writer.h"

namespace polymoe {
namespace {

constexpr uint32_t kDefaultGrid = 10;

SeriesAxis ToAxis(v1::Axis axis) {
  return axis == v1::AXIS_STEP ? SeriesAxis::kStep : axis == v1::AXIS_TIME ? SeriesAxis::kTime : SeriesAxis::kTokens;
}

absl::StatusOr<v1::QueryResponse> RunQuery(Store& store, const View& view, const v1::QueryRequest& request) {
  POLYMOE_ASSIGN_OR_RETURN(const std::shared_ptr<const v1::Job> job, view.Find(request.job()));
  POLYMOE_ASSIGN_OR_RETURN(const SeriesByName series, ReadJobPoints(store, *job, {request.names().begin(), request.names().end()}));
  v1::QueryResponse response;
  for (const auto& [name, points] : series) {
    v1::Series& out = *response.add_series();
    out.set_job(job->id());
    out.set_name(name);
    for (const Bucket& bucket :
         Downsample(points, ToAxis(request.axis()), request.has_from() ? std::optional(request.from()) : std::nullopt,
                    request.has_to() ? std::optional(request.to()) : std::nullopt, request.max_points())) {
      v1::SeriesPoint& point = *out.add_points();
      point.set_step(bucket.last.step);
      point.set_tokens(bucket.last.tokens);
      point.set_time_ms(bucket.last.time_ms);
      point.set_value(bucket.mean);
      point.set_min(bucket.min);
      point.set_max(bucket.max);
      point.set_count(bucket.count);
    }
  }
  return response;
}

absl::StatusOr<v1::CompareResponse> RunCompare(Store& store, const View& view, const v1::CompareRequest& request) {
  if (request.jobs().empty() || request.names().empty())
    return absl::InvalidArgumentError("compare needs at least one job and one metric name");
  std::vector<std::shared_ptr<const v1::Job>> jobs;
  std::vector<SeriesByName> series;
  std::vector<std::vector<Point>> ends;  // one series a job, for how far it got
  const std::vector<std::string> names(request.names().begin(), request.names().end());
  for (const std::string& name : request.jobs()) {
    POLYMOE_ASSIGN_OR_RETURN(jobs.emplace_back(), view.Find(name));
    POLYMOE_ASSIGN_OR_RETURN(series.emplace_back(), ReadJobPoints(store, *jobs.back(), names));
    ends.emplace_back();
    for (const auto& [metric, points] : series.back()) {
      if (!points.empty() && (ends.back().empty() || points.back().tokens > ends.back().back().tokens)) ends.back() = points;
    }
  }
  const std::vector<uint64_t> milestones = TokenMilestones(ends, request.grid() == 0 ? kDefaultGrid : request.grid());
  v1::CompareResponse response;
  response.mutable_tokens()->Add(milestones.begin(), milestones.end());
  for (const std::string& name : names) {
    for (size_t i = 0; i < jobs.size(); ++i) {
      v1::CompareRow& row = *response.add_rows();
      row.set_job(jobs[i]->id());
      row.set_name(name);
      for (const std::optional<double>& value : AtMilestones(series[i][name], milestones)) {
        v1::CompareCell& cell = *row.add_cells();
        cell.set_present(value.has_value());
        if (value) cell.set_value(*value);
      }
    }
  }
  return response;
}

// Points as they are committed; with history, also those that are stored: a point at the seam may come twice.
class PointStream final : public StreamWriter<v1::StreamResponse>, public CommitListener {
 public:
  PointStream(std::set<std::string> jobs, std::set<std::string> names) : jobs_(std::move(jobs)), names_(std::move(names)) {}

  void OnCommit(const Committed& committed) override {
    std::map<std::tuple<std::string, uint32_t, uint64_t>, v1::StreamResponse> steps;
    for (const PointRow& row : committed.points) {
      if ((!jobs_.empty() && !jobs_.contains(row.job)) || (!names_.empty() && !names_.contains(row.name))) continue;
      v1::StreamResponse& response = steps[{row.job, row.point.attempt, row.point.step}];
      response.set_job(row.job);
      response.set_attempt(row.point.attempt);
      response.mutable_points()->set_step(row.point.step);
      response.mutable_points()->set_tokens(row.point.tokens);
      response.mutable_points()->set_time_ms(row.point.time_ms);
      (*response.mutable_points()->mutable_values())[row.name] = row.point.value;
    }
    for (auto& [key, response] : steps) Push(std::move(response));
  }

 private:
  const std::set<std::string> jobs_, names_;
};

// Everything stored of a job as one commit would have brought it.
absl::Status ShowHistory(Store& store, const v1::Job& job, const std::vector<std::string>& names, PointStream& stream) {
  POLYMOE_ASSIGN_OR_RETURN(const SeriesByName series, ReadJobPoints(store, job, names));
  Committed committed;
  for (const auto& [name, points] : series) {
    for (const Point& point : points) committed.points.push_back({job.id(), name, point});
  }
  stream.OnCommit(committed);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* MetricServiceImpl::Query(grpc::CallbackServerContext* context, const v1::QueryRequest* request,
                                                   v1::QueryResponse* response) {
  const Call call(metrics_, "MetricService/Query", context);
  call.Finish(RunQuery(coordinator_.store(), *coordinator_.view(), *request), response);
  return call.reactor();
}

grpc::ServerUnaryReactor* MetricServiceImpl::Compare(grpc::CallbackServerContext* context, const v1::CompareRequest* request,
                                                     v1::CompareResponse* response) {
  const Call call(metrics_, "MetricService/Compare", context);
  call.Finish(RunCompare(coordinator_.store(), *coordinator_.view(), *request), response);
  return call.reactor();
}

grpc::ServerWriteReactor<v1::StreamResponse>* MetricServiceImpl::Stream(grpc::CallbackServerContext*,
                                                                        const v1::StreamRequest* request) {
  const std::shared_ptr<const View> view = coordinator_.view();
  std::set<std::string> ids;
  absl::Status status;
  for (const std::string& name : request->jobs()) {
    const auto job = view->Find(name);
    job.ok() ? static_cast<void>(ids.insert((*job)->id())) : status.Update(job.status());
  }
  const std::set<std::string> names(request->names().begin(), request->names().end());
  const auto stream = StreamWriter<v1::StreamResponse>::Open(std::make_shared<PointStream>(ids, names),
                                                             CallTimer(metrics_, "MetricService/Stream"));
  coordinator_.AddListener(stream);
  for (const auto& [id, job] : view->jobs) {
    if (request->history() && status.ok() && (ids.empty() || ids.contains(id))) {
      status.Update(ShowHistory(coordinator_.store(), *job, {names.begin(), names.end()}, *stream));
    }
  }
  if (!status.ok()) stream->End(ToGrpc(status));
  return stream.get();
}

}  // namespace polymoe
