#include "server/coordinator/coordinator.h"

#include <google/protobuf/util/json_util.h>

#include <chrono>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/status.h"
#include "server/metrics/fleet_metrics.h"

namespace polymoe {
namespace {

constexpr size_t kMaxQueued = 100'000;
constexpr auto kIdleTick = std::chrono::milliseconds(100);

// ENUM_PREFIX_VALUE -> "value".
std::string Lower(const std::string& name, size_t prefix) {
  return absl::AsciiStrToLower(name.substr(prefix));
}

// Since when a pending job has waited: for its first attempt, or since its last one ended.
int64_t WaitingSince(const v1::Job& job) {
  return job.attempts().empty() ? job.created_ms() : job.attempts().rbegin()->ended_ms();
}

absl::StatusOr<v1::Job> ParseJob(const JobRow& row) {
  v1::Job job;
  const auto status = google::protobuf::util::JsonStringToMessage(row.json, &job);
  if (!status.ok())
    return absl::DataLossError(absl::StrCat("store: job ", row.id, " cannot be read: ", std::string(status.message())));
  return job;
}

}  // namespace

Coordinator::Coordinator(const ClusterConfig& config, Store& store, const Clock& clock, FleetMetrics& metrics,
                         std::function<void(absl::Status)> fatal)
    : cluster_(config),
      store_(store),
      clock_(clock),
      start_ms_(UnixMillis(clock)),
      start_monotonic_(clock.Monotonic()),
      metrics_(metrics),
      fatal_(std::move(fatal)) {}

int64_t Coordinator::NowMs() const {
  return start_ms_ + absl::ToInt64Milliseconds(clock_.Monotonic() - start_monotonic_);
}

Coordinator::~Coordinator() {
  Stop();
}

absl::Status Coordinator::Start() {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<JobRow> rows, store_.LoadJobs());
  auto view = std::make_shared<View>();
  const int64_t now_ms = NowMs();
  for (const JobRow& row : rows) {
    POLYMOE_ASSIGN_OR_RETURN(v1::Job job, ParseJob(row));
    view->jobs[job.id()] = std::make_shared<v1::Job>(job);
    cluster_.Restore(std::move(job), row.request_id, now_ms);
  }
  view_ = view;
  if (!rows.empty()) LogInfo("jobs loaded", {{"jobs", absl::StrCat(rows.size())}});
  thread_ = std::thread([this] { Loop(); });
  return absl::OkStatus();
}

void Coordinator::Stop() {
  {
    const std::lock_guard lock(queue_mutex_);
    stopping_ = true;
  }
  queue_filled_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool Coordinator::Enqueue(Event event) {
  {
    const std::lock_guard lock(queue_mutex_);
    if (queue_.size() >= kMaxQueued || stopping_) return false;
    queue_.push_back(std::move(event));
  }
  queue_filled_.notify_one();
  return true;
}

void Coordinator::Submit(const v1::SubmitRequest& request, const std::function<void(absl::StatusOr<v1::SubmitResponse>)>& done) {
  auto result = std::make_shared<absl::StatusOr<v1::SubmitResponse>>();
  const bool queued =
      Enqueue({[=, this] { *result = cluster_.Submit(request, NewJobId(request.file()), NowMs()); }, [=] { done(*result); }});
  if (!queued) done(absl::ResourceExhaustedError("the coordinator is overloaded; try again with the same request id"));
}

std::string Coordinator::NewJobId(const v1::JobFile& file) const {
  std::string id;
  do id = absl::StrCat(file.metadata().name(), "-", NewSuffix(5));
  while (cluster_.jobs().contains(id));  // 25 bits: rare, but a job of that id must not be overwritten
  return id;
}

void Coordinator::Cancel(const std::string& id, const std::function<void(absl::StatusOr<v1::Job>)>& done) {
  auto result = std::make_shared<absl::StatusOr<v1::Job>>();
  const bool queued = Enqueue({[=, this] { *result = cluster_.Cancel(id, NowMs()); }, [=] { done(*result); }});
  if (!queued) done(absl::ResourceExhaustedError("the coordinator is overloaded; try again"));
}

void Coordinator::DrainWorker(const std::string& worker, const std::function<void(absl::Status)>& done) {
  auto result = std::make_shared<absl::Status>();
  const bool queued = Enqueue({[=, this] { *result = cluster_.Drain(worker); }, [=] { done(*result); }});
  if (!queued) done(absl::ResourceExhaustedError("the coordinator is overloaded; try again"));
}

void Coordinator::Connect(const v1::Register& message, const std::shared_ptr<WorkerLink>& link) {
  const bool queued = Enqueue({[=, this] {
                                 std::shared_ptr<WorkerLink>& current = links_[message.worker()];
                                 if (current != nullptr) current->Close();
                                 current = link;
                                 cluster_.Register(message, NowMs());
                                 LogInfo("worker connected", {{"worker", message.worker()},
                                                              {"slots", absl::StrCat(message.slots_size())},
                                                              {"running", absl::StrCat(message.running_size())}});
                               },
                               {}});
  if (!queued) link->Close();  // it will come again
}

void Coordinator::Receive(const std::shared_ptr<WorkerLink>& link, const std::string& worker, const v1::WorkerMessage& message) {
  const bool queued = Enqueue({[=, this] {
                                 const auto current = links_.find(worker);
                                 if (current == links_.end() || current->second != link || !cluster_.workers().contains(worker))
                                   return;
                                 const int64_t now_ms = NowMs();
                                 if (message.has_heartbeat()) cluster_.Heartbeat(worker, message.heartbeat().sequence(), now_ms);
                                 if (message.has_report()) cluster_.HandleReport(worker, message.report(), now_ms);
                                 if (message.has_draining()) cluster_.SetDraining(worker);
                               },
                               {}});
  if (!queued) link->Close();  // what was not acknowledged comes again
}

void Coordinator::Disconnect(const std::shared_ptr<WorkerLink>& link, const std::string& worker) {
  Enqueue({[=, this] {
             const auto current = links_.find(worker);
             if (current == links_.end() || current->second != link) return;
             links_.erase(current);
             cluster_.Disconnect(worker);
             LogWarning("worker disconnected", {{"worker", worker}});
           },
           {}});
}

std::shared_ptr<const View> Coordinator::view() const {
  const std::lock_guard lock(view_mutex_);
  return view_;
}

void Coordinator::AddListener(std::weak_ptr<CommitListener> listener) {
  const std::lock_guard lock(view_mutex_);
  listeners_.push_back(std::move(listener));
}

void Coordinator::Loop() {
  for (bool more = true; more;) {
    std::deque<Event> events;
    {
      std::unique_lock lock(queue_mutex_);
      queue_filled_.wait_for(lock, kIdleTick, [this] { return stopping_ || !queue_.empty(); });
      events.swap(queue_);
      more = !stopping_;
    }
    if (Tick(events)) continue;
    // Answering or sending anything from now on would tell of changes that are on no disk.
    const std::lock_guard lock(queue_mutex_);
    stopping_ = true;
    return;
  }
}

bool Coordinator::Tick(const std::deque<Event>& events) {
  for (const Event& event : events) event.apply();
  const absl::Duration start = clock_.Monotonic();
  cluster_.Tick(NowMs());
  metrics_.ObservePass(clock_.Monotonic() - start);
  Effects effects = cluster_.Take();
  if (const absl::Status committed = Commit(effects); !committed.ok()) {
    fatal_(committed);
    return false;
  }
  Publish(effects);
  for (const auto& [worker, message] : effects.messages) {
    if (const auto link = links_.find(worker); link != links_.end()) link->second->Send(message);
  }
  for (const Event& event : events) {
    if (event.committed) event.committed();
  }
  return true;
}

absl::Status Coordinator::Commit(const Effects& effects) {
  StoreBatch batch{.points = effects.points, .logs = effects.logs};
  for (const std::string& id : effects.jobs) {
    JobRow row{.id = id, .request_id = cluster_.request_id(id)};
    const auto status = google::protobuf::util::MessageToJsonString(cluster_.jobs().at(id), &row.json);
    if (!status.ok()) return absl::InternalError(absl::StrCat("job ", id, ": ", std::string(status.message())));
    batch.jobs.push_back(std::move(row));
  }
  return batch.empty() ? absl::OkStatus() : store_.Commit(batch);
}

void Coordinator::Publish(Effects& effects) {
  Committed committed{.points = std::move(effects.points), .logs = std::move(effects.logs)};
  auto view = std::make_shared<View>();
  view->jobs = this->view()->jobs;
  for (const std::string& id : effects.jobs) {
    auto job = std::make_shared<const v1::Job>(cluster_.jobs().at(id));
    const auto before = view->jobs.find(id);
    if (before == view->jobs.end() || before->second->state() != job->state()) {
      LogInfo("job changed", {{"job", id},
                              {"state", Lower(v1::JobState_Name(job->state()), sizeof("JOB_STATE_") - 1)},
                              {"attempt", absl::StrCat(job->attempts_size())},
                              {"message", job->message()}});
    }
    view->jobs[id] = job;
    committed.jobs.push_back(std::move(job));
  }
  for (const auto& [name, state] : cluster_.workers()) {
    v1::Worker& worker = view->workers.emplace_back();
    worker.set_name(name);
    worker.set_host(state.host);
    worker.set_connected(state.connected);
    worker.set_draining(state.draining);
    worker.set_version(state.version);
    worker.set_last_seen_ms(state.last_seen_ms);
    worker.mutable_slots()->Assign(state.slots.begin(), state.slots.end());
    for (const auto& [id, job] : cluster_.jobs()) {
      if (job.attempts().empty()) continue;
      const v1::Attempt& attempt = *job.attempts().rbegin();
      const std::set<uint32_t> ended(attempt.ended_ranks().begin(), attempt.ended_ranks().end());
      for (const v1::Placement& placement : attempt.placements()) {
        if (placement.worker() != name || ended.contains(placement.rank())) continue;
        v1::RankRef& rank = *worker.add_running();
        rank.set_job(id);
        rank.set_attempt(job.attempts_size());
        rank.set_rank(placement.rank());
      }
    }
  }
  ReportFleet(*view);
  for (const v1::EndReason reason : effects.attempt_ends) {
    metrics_.CountAttemptEnd(Lower(v1::EndReason_Name(reason), sizeof("END_REASON_") - 1));
  }
  committed.view = view;
  std::vector<std::shared_ptr<CommitListener>> listeners;
  {
    const std::lock_guard lock(view_mutex_);
    view_ = view;
    std::erase_if(listeners_, [&](const std::weak_ptr<CommitListener>& weak) {
      std::shared_ptr<CommitListener> listener = weak.lock();
      if (listener != nullptr) listeners.push_back(std::move(listener));
      return weak.expired();
    });
  }
  if (committed.jobs.empty() && committed.points.empty() && committed.logs.empty()) return;
  for (const auto& listener : listeners) listener->OnCommit(committed);
}

void Coordinator::ReportFleet(const View& view) {
  FleetMetrics::Fleet fleet{.workers = {{"connected", 0}, {"disconnected", 0}, {"draining", 0}}};
  for (int s = v1::JOB_STATE_PENDING; s <= v1::JOB_STATE_CANCELLED; ++s) {
    fleet.jobs[Lower(v1::JobState_Name(static_cast<v1::JobState>(s)), sizeof("JOB_STATE_") - 1)] = 0;
  }
  for (const auto& [id, job] : view.jobs) {
    ++fleet.jobs[Lower(v1::JobState_Name(job->state()), sizeof("JOB_STATE_") - 1)];
    if (job->state() != v1::JOB_STATE_PENDING || job->held()) continue;
    const int64_t since = WaitingSince(*job);
    if (fleet.oldest_waiting_ms == 0 || since < fleet.oldest_waiting_ms) fleet.oldest_waiting_ms = since;
  }
  for (const v1::Worker& worker : view.workers) {
    ++fleet.workers[!worker.connected() ? "disconnected" : worker.draining() ? "draining" : "connected"];
    if (!worker.connected()) continue;
    fleet.slots_total += worker.slots_size();
    fleet.slots_busy += static_cast<int>(cluster_.BusySlots(worker.name()).size());
  }
  metrics_.SetFleet(fleet);
}

}  // namespace polymoe
