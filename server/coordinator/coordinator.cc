#include "server/coordinator/coordinator.h"

#include <google/protobuf/util/json_util.h>

#include <chrono>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/spec/names.h"
#include "common/status.h"
#include "server/metrics/fleet_metrics.h"

namespace polymoe {
namespace {

constexpr size_t kMaxQueued = 100'000;
constexpr auto kIdleTick = std::chrono::milliseconds(100);

// A JobRow or an AblationRow, and what it holds.
template <class Message, class Row>
absl::StatusOr<Message> Parse(const Row& row, const char* what) {
  Message message;
  const auto status = google::protobuf::util::JsonStringToMessage(row.json, &message);
  if (status.ok()) return message;
  return absl::DataLossError(absl::StrCat("store: ", what, " ", row.id, " cannot be read: ", std::string(status.message())));
}

template <class Row, class Message>
absl::StatusOr<Row> Format(const std::string& request_id, const Message& message) {
  Row row{.id = message.id(), .request_id = request_id};
  const auto status = google::protobuf::util::MessageToJsonString(message, &row.json);
  if (!status.ok()) return absl::InternalError(absl::StrCat(message.id(), ": ", std::string(status.message())));
  return row;
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
    POLYMOE_ASSIGN_OR_RETURN(v1::Job job, Parse<v1::Job>(row, "job"));
    view->jobs[job.id()] = std::make_shared<v1::Job>(job);
    cluster_.Restore(std::move(job), row.request_id, now_ms);
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<AblationRow> ablations, store_.LoadAblations());
  for (const AblationRow& row : ablations) {
    POLYMOE_ASSIGN_OR_RETURN(v1::Ablation ablation, Parse<v1::Ablation>(row, "ablation"));
    view->ablations[ablation.id()] = std::make_shared<v1::Ablation>(ablation);
    POLYMOE_RETURN_IF_ERROR(cluster_.RestoreAblation(std::move(ablation), row.request_id));
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

template <class Result>
void Coordinator::Ask(std::function<Result()> change, std::function<void(Result)> done) {
  auto result = std::make_shared<Result>();
  const bool queued = Enqueue({[=] { *result = change(); }, [=] { done(*result); }});
  if (!queued)
    done(absl::ResourceExhaustedError("the coordinator is overloaded; try again, with the same request id if it has one"));
}

void Coordinator::Submit(const v1::SubmitRequest& request, const std::function<void(absl::StatusOr<v1::SubmitResponse>)>& done) {
  Ask<absl::StatusOr<v1::SubmitResponse>>(
      [=, this] { return cluster_.Submit(request, MakeId(request.file().metadata().name()), NowMs()); }, done);
}

std::string Coordinator::MakeId(const std::string& name) const {
  std::string id;
  do id = absl::StrCat(name, "-", NewSuffix(5));
  while (cluster_.jobs().contains(id) || cluster_.ablations().contains(id));  // 25 bits: rare, but no other must be overwritten
  return id;
}

void Coordinator::Cancel(const std::string& id, const std::function<void(absl::StatusOr<v1::Job>)>& done) {
  Ask<absl::StatusOr<v1::Job>>([=, this] { return cluster_.Cancel(id, NowMs()); }, done);
}

void Coordinator::DrainWorker(const std::string& worker, const std::function<void(absl::Status)>& done) {
  Ask<absl::Status>([=, this] { return cluster_.Drain(worker); }, done);
}

void Coordinator::SubmitAblation(const v1::SubmitAblationRequest& request,
                                 const std::function<void(absl::StatusOr<v1::SubmitAblationResponse>)>& done) {
  Ask<absl::StatusOr<v1::SubmitAblationResponse>>(
      [=, this] {
        return cluster_.SubmitAblation(
            request, [this](const std::string& name) { return MakeId(name); }, NowMs());
      },
      done);
}

void Coordinator::PauseAblation(const std::string& id, const AblationDone& done) {
  Ask<absl::StatusOr<v1::Ablation>>([=, this] { return cluster_.PauseAblation(id); }, done);
}

void Coordinator::ResumeAblation(const std::string& id, const AblationDone& done) {
  Ask<absl::StatusOr<v1::Ablation>>([=, this] { return cluster_.ResumeAblation(id); }, done);
}

void Coordinator::CancelAblation(const std::string& id, const AblationDone& done) {
  Ask<absl::StatusOr<v1::Ablation>>([=, this] { return cluster_.CancelAblation(id, NowMs()); }, done);
}

void Coordinator::AddArm(const v1::AddArmRequest& request, const AblationDone& done) {
  Ask<absl::StatusOr<v1::Ablation>>(
      [=, this] {
        return cluster_.AddArm(
            request, [this](const std::string& name) { return MakeId(name); }, NowMs());
      },
      done);
}

bool Coordinator::StopRun(const std::string& job, const std::string& why) {
  return Enqueue({[=, this] { cluster_.StopRun(job, why, NowMs()); }, {}});
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
    POLYMOE_ASSIGN_OR_RETURN(JobRow row, Format<JobRow>(cluster_.request_id(id), cluster_.jobs().at(id)));
    batch.jobs.push_back(std::move(row));
  }
  for (const std::string& id : effects.ablations) {
    POLYMOE_ASSIGN_OR_RETURN(AblationRow row, Format<AblationRow>(cluster_.ablation_request_id(id), cluster_.ablations().at(id)));
    batch.ablations.push_back(std::move(row));
  }
  return batch.empty() ? absl::OkStatus() : store_.Commit(batch);
}

void Coordinator::Publish(Effects& effects) {
  Committed committed{.points = std::move(effects.points), .logs = std::move(effects.logs)};
  auto view = std::make_shared<View>();
  const std::shared_ptr<const View> before = this->view();
  view->jobs = before->jobs;
  view->ablations = before->ablations;
  for (const std::string& id : effects.jobs) {
    auto job = std::make_shared<const v1::Job>(cluster_.jobs().at(id));
    const auto known = view->jobs.find(id);
    if (known == view->jobs.end() || known->second->state() != job->state()) {
      LogInfo("job changed", {{"job", id},
                              {"state", StateName(job->state())},
                              {"attempt", absl::StrCat(job->attempts_size())},
                              {"message", job->message()}});
    }
    view->jobs[id] = job;
    committed.jobs.push_back(std::move(job));
  }
  for (const std::string& id : effects.ablations) {
    auto ablation = std::make_shared<const v1::Ablation>(cluster_.ablations().at(id));
    const auto known = view->ablations.find(id);
    if (known == view->ablations.end() || known->second->state() != ablation->state()) {
      LogInfo("ablation changed", {{"ablation", id}, {"state", StateName(ablation->state())}});
    }
    view->ablations[id] = ablation;
    committed.ablations.push_back(std::move(ablation));
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
    metrics_.CountAttemptEnd(EnumName(v1::EndReason_Name(reason), "END_REASON_"));
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
  if (committed.jobs.empty() && committed.ablations.empty() && committed.points.empty() && committed.logs.empty()) return;
  for (const auto& listener : listeners) listener->OnCommit(committed);
}

void Coordinator::ReportFleet(const View& view) {
  FleetMetrics::Fleet fleet{.workers = {{"connected", 0}, {"disconnected", 0}, {"draining", 0}}};
  for (int s = v1::JOB_STATE_PENDING; s <= v1::JOB_STATE_CANCELLED; ++s) {
    fleet.jobs[StateName(static_cast<v1::JobState>(s))] = 0;
  }
  for (const auto& [id, job] : view.jobs) {
    ++fleet.jobs[StateName(job->state())];
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
