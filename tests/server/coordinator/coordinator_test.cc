// Nobody hears of a change before it is committed, and of none that was not. Streams, views and listeners follow the commits.
#include "server/coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <atomic>

#include "absl/strings/str_cat.h"

#include "server/metrics/fleet_metrics.h"
#include "tests/fakes/blocking_queue.h"
#include "tests/fakes/clock.h"
#include "tests/server/coordinator/held_store.h"
#include "tests/server/state/ablation_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class FakeLink final : public WorkerLink {
 public:
  void Send(const v1::CoordinatorMessage& message) override { sent.Push(message); }
  void Close() override { closed = true; }

  // The next message of a kind, others thrown away.
  v1::CoordinatorMessage Next(v1::CoordinatorMessage::MessageCase kind) {
    v1::CoordinatorMessage message;
    do message = sent.Pop();
    while (message.message_case() != kind);
    return message;
  }

  BlockingQueue<v1::CoordinatorMessage> sent;
  std::atomic<bool> closed = false;
};

class RecordingListener final : public CommitListener {
 public:
  void OnCommit(const Committed& committed) override { commits.Push(committed); }
  BlockingQueue<Committed> commits;
};

v1::SubmitRequest Request(const std::string& request_id, const std::string& name = "j") {
  v1::SubmitRequest request;
  request.set_request_id(request_id);
  request.mutable_file()->mutable_metadata()->set_name(name);
  request.mutable_file()->mutable_spec()->mutable_resources()->set_ranks(1);
  return request;
}

v1::WorkerMessage Points(const std::string& job, uint64_t sequence) {
  v1::WorkerMessage message;
  v1::Report& report = *message.mutable_report();
  report.set_sequence(sequence);
  report.mutable_rank()->set_job(job);
  report.mutable_rank()->set_attempt(1);
  report.mutable_points()->set_step(3);
  (*report.mutable_points()->mutable_values())["loss"] = 2.5;
  return message;
}

class CoordinatorTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(); }
  void Start() {
    coordinator_ = std::make_unique<Coordinator>(config_, store_, clock_, metrics_,
                                                 [this](const absl::Status& status) { fatal_.Push(status); });
    ASSERT_TRUE(coordinator_->Start().ok());
  }

  void SubmitLater(const v1::SubmitRequest& request) {
    coordinator_->Submit(request, [this](const absl::StatusOr<v1::SubmitResponse>& answer) { submitted_.Push(answer); });
  }
  v1::SubmitResponse Submit(const v1::SubmitRequest& request) {
    SubmitLater(request);
    return submitted_.Pop().value();
  }
  absl::StatusOr<v1::Job> Cancel(const std::string& job) {
    BlockingQueue<absl::StatusOr<v1::Job>> answers;
    coordinator_->Cancel(job, [&](const absl::StatusOr<v1::Job>& answer) { answers.Push(answer); });
    return answers.Pop();
  }
  // All events so far have been dealt with, and time was looked at.
  void Barrier() { EXPECT_FALSE(Cancel("nobody").ok()); }

  std::shared_ptr<FakeLink> Connect(const std::string& worker, const std::string& instance = "i1", uint32_t slots = 1) {
    auto link = std::make_shared<FakeLink>();
    v1::Register message;
    message.set_worker(worker);
    message.set_instance(instance);
    for (uint32_t slot = 0; slot < slots; ++slot) message.add_slots()->set_index(slot);
    coordinator_->Connect(message, link);
    return link;
  }

  ClusterConfig config_;
  HeldStore store_;
  FakeClock clock_;
  prometheus::Registry registry_;
  FleetMetrics metrics_{registry_};
  BlockingQueue<absl::Status> fatal_;
  BlockingQueue<absl::StatusOr<v1::SubmitResponse>> submitted_;
  std::unique_ptr<Coordinator> coordinator_;  // last: its thread uses the others
};

TEST_F(CoordinatorTest, AnswersComeAfterTheCommit) {
  store_.HoldCommits();
  SubmitLater(Request("r"));
  const StoreBatch batch = store_.NextHeld();
  ASSERT_THAT(batch.jobs, SizeIs(1));
  EXPECT_EQ(batch.jobs[0].request_id, "r");
  EXPECT_THAT(batch.jobs[0].json, HasSubstr("WAIT_REASON_NO_WORKERS"));  // the pass is in the same commit
  EXPECT_TRUE(submitted_.empty());
  EXPECT_THAT(coordinator_->view()->jobs, IsEmpty());
  store_.EndHeld(absl::OkStatus());
  const auto answer = submitted_.Pop();
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->job().id(), batch.jobs[0].id);
  EXPECT_TRUE(coordinator_->view()->jobs.contains(answer->job().id()));
}

TEST_F(CoordinatorTest, LaunchesAreSentAfterTheCommit) {
  const auto link = Connect("a");
  EXPECT_TRUE(link->sent.Pop().has_registered());
  store_.HoldCommits();
  SubmitLater(Request("r"));
  EXPECT_THAT(store_.NextHeld().jobs[0].json, HasSubstr("JOB_STATE_STARTING"));
  EXPECT_TRUE(link->sent.empty());
  store_.EndHeld(absl::OkStatus());
  EXPECT_TRUE(link->sent.Pop().has_launch());
}

TEST_F(CoordinatorTest, ReportsAreAcknowledgedAfterTheCommit) {
  const auto link = Connect("a");
  const std::string id = Submit(Request("r")).job().id();
  link->Next(v1::CoordinatorMessage::kLaunch);
  store_.HoldCommits();
  coordinator_->Receive(link, "a", Points(id, 7));
  const StoreBatch batch = store_.NextHeld();
  ASSERT_THAT(batch.points, SizeIs(1));
  EXPECT_EQ(batch.points[0].point.step, 3u);
  EXPECT_TRUE(link->sent.empty());
  store_.EndHeld(absl::OkStatus());
  EXPECT_EQ(link->Next(v1::CoordinatorMessage::kReportAck).report_ack().sequence(), 7u);
}

TEST_F(CoordinatorTest, WhenTheStoreFailsNobodyHearsAnything) {
  const auto link = Connect("a");
  EXPECT_TRUE(link->sent.Pop().has_registered());
  const auto listener = std::make_shared<RecordingListener>();
  coordinator_->AddListener(listener);
  store_.HoldCommits();
  SubmitLater(Request("r"));
  store_.NextHeld();
  store_.EndHeld(absl::UnavailableError("disk on fire"));
  EXPECT_THAT(std::string(fatal_.Pop().message()), HasSubstr("disk on fire"));
  // Nor of anything that came later, which would rest on what was not stored.
  BlockingQueue<absl::Status> later;
  coordinator_->Cancel("j", [&](const absl::StatusOr<v1::Job>& answer) { later.Push(answer.status()); });
  coordinator_->Stop();
  EXPECT_TRUE(submitted_.empty());
  EXPECT_TRUE(link->sent.empty());
  EXPECT_TRUE(listener->commits.empty());
  EXPECT_THAT(coordinator_->view()->jobs, IsEmpty());
  if (!later.empty()) {
    EXPECT_FALSE(later.Pop().ok());
  }
}

TEST_F(CoordinatorTest, JobsOutliveTheCoordinator) {
  const v1::Job job = Submit(Request("r")).job();
  coordinator_.reset();
  Start();
  ASSERT_TRUE(coordinator_->view()->jobs.contains(job.id()));
  const v1::SubmitResponse again = Submit(Request("r"));
  EXPECT_TRUE(again.existed());
  EXPECT_EQ(again.job().id(), job.id());
}

TEST_F(CoordinatorTest, AJobThatCannotBeReadIsNamed) {
  coordinator_.reset();
  ASSERT_TRUE(store_.Commit({.jobs = {{"j-bad", "r", "{\"state\": "}}}).ok());
  Coordinator coordinator(config_, store_, clock_, metrics_, [](const absl::Status&) {});
  const absl::Status status = coordinator.Start();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("j-bad"));
}

TEST_F(CoordinatorTest, AnAblationAndItsJobsAreOneCommitAndOneNews) {
  const auto listener = std::make_shared<RecordingListener>();
  coordinator_->AddListener(listener);
  store_.HoldCommits();
  BlockingQueue<absl::StatusOr<v1::SubmitAblationResponse>> answers;
  coordinator_->SubmitAblation(AblationRequest("r", AblationOf()), [&](const auto& answer) { answers.Push(answer); });
  const StoreBatch batch = store_.NextHeld();
  EXPECT_THAT(batch.ablations, ElementsAre(::testing::Field(&AblationRow::request_id, "r")));
  EXPECT_THAT(batch.jobs, SizeIs(4));
  EXPECT_THAT(coordinator_->view()->ablations, IsEmpty()) << "nothing is shown before it is durable";
  EXPECT_TRUE(answers.empty());
  store_.EndHeld(absl::OkStatus());
  const std::string id = answers.Pop()->ablation().id();
  EXPECT_THAT(id, StartsWith("study-"));
  const Committed committed = listener->commits.Pop();
  ASSERT_THAT(committed.ablations, SizeIs(1));
  EXPECT_EQ(committed.ablations[0], committed.view->ablations.at(id));
  EXPECT_THAT(committed.jobs, SizeIs(4));
}

TEST_F(CoordinatorTest, AblationsOutliveTheCoordinator) {
  BlockingQueue<absl::StatusOr<v1::SubmitAblationResponse>> submitted;
  BlockingQueue<absl::StatusOr<v1::Ablation>> changed;
  const auto submit = [&] {
    coordinator_->SubmitAblation(AblationRequest("r", AblationOf()), [&](const auto& answer) { submitted.Push(answer); });
    return submitted.Pop().value();
  };
  const std::string id = submit().ablation().id();
  coordinator_->PauseAblation(id, [&](const auto& answer) { changed.Push(answer); });
  ASSERT_TRUE(changed.Pop().ok());
  coordinator_.reset();
  Start();
  EXPECT_EQ(coordinator_->view()->ablations.at(id)->state(), v1::ABLATION_STATE_PAUSED);
  const v1::SubmitAblationResponse again = submit();
  EXPECT_TRUE(again.existed());
  EXPECT_EQ(again.ablation().id(), id);
  coordinator_->CancelAblation(id, [&](const auto& answer) { changed.Push(answer); });
  EXPECT_EQ(changed.Pop()->state(), v1::ABLATION_STATE_CANCELLED);
  coordinator_->ResumeAblation("nope", [&](const auto& answer) { changed.Push(answer); });
  EXPECT_EQ(changed.Pop().status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CoordinatorTest, AnAblationThatCannotBeReadIsNamed) {
  coordinator_.reset();
  ASSERT_TRUE(store_.Commit({.ablations = {{"abl-bad", "r", "{\"state\": "}}}).ok());
  Coordinator coordinator(config_, store_, clock_, metrics_, [](const absl::Status&) {});
  const absl::Status status = coordinator.Start();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ablation abl-bad"));
}

TEST_F(CoordinatorTest, EveryJobHasAnIdOfItsOwn) {
  const std::string first = Submit(Request("r1")).job().id(), second = Submit(Request("r2")).job().id();
  EXPECT_THAT(first, StartsWith("j-"));
  EXPECT_NE(first, second);
  EXPECT_EQ(coordinator_->view()->jobs.size(), 2u);
}

TEST_F(CoordinatorTest, WhatIsQueuedIsDoneBeforeTheEnd) {
  for (int i = 0; i < 50; ++i) SubmitLater(Request(absl::StrCat("r", i)));
  coordinator_->Stop();
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(submitted_.Pop().ok());
  SubmitLater(Request("late"));
  EXPECT_FALSE(submitted_.Pop().ok());
}

TEST_F(CoordinatorTest, AViewIsOneMomentAndStaysAsItIs) {
  const auto before = coordinator_->view();
  const auto link = Connect("a", "i1", 2);
  const std::string id = Submit(Request("r")).job().id();
  const auto view = coordinator_->view();
  EXPECT_EQ((*view->Find("j"))->state(), v1::JOB_STATE_STARTING);
  ASSERT_THAT(view->workers, SizeIs(1));
  EXPECT_TRUE(view->workers[0].connected());
  EXPECT_EQ(view->workers[0].slots_size(), 2);
  ASSERT_THAT(view->workers[0].running(), SizeIs(1));
  EXPECT_EQ(view->workers[0].running(0).job(), id);
  ASSERT_TRUE(Cancel(id).ok());
  v1::WorkerMessage exited;
  exited.mutable_report()->mutable_rank()->set_job(id);
  exited.mutable_report()->mutable_rank()->set_attempt(1);
  exited.mutable_report()->mutable_exited()->mutable_exit()->set_exit_code(3);
  coordinator_->Receive(link, "a", exited);
  Barrier();
  EXPECT_EQ((*coordinator_->view()->Find(id))->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(coordinator_->view()->workers[0].running(), IsEmpty());
  EXPECT_EQ((*view->Find(id))->state(), v1::JOB_STATE_STARTING);
  EXPECT_THAT(before->jobs, IsEmpty());
}

TEST_F(CoordinatorTest, ARankThatHasEndedRunsNoMore) {
  const auto link = Connect("a", "i1", 2);
  v1::SubmitRequest gang = Request("r");
  gang.mutable_file()->mutable_spec()->mutable_resources()->set_ranks(2);
  const std::string id = Submit(gang).job().id();
  v1::WorkerMessage exited;
  exited.mutable_report()->mutable_rank()->set_job(id);
  exited.mutable_report()->mutable_rank()->set_attempt(1);
  exited.mutable_report()->mutable_exited();
  coordinator_->Receive(link, "a", exited);
  Barrier();
  ASSERT_THAT(coordinator_->view()->workers[0].running(), SizeIs(1));
  EXPECT_EQ(coordinator_->view()->workers[0].running(0).rank(), 1u);
}

TEST_F(CoordinatorTest, TheNewestStreamOfAWorkerCounts) {
  const auto old_link = Connect("a");
  const auto link = Connect("a");
  const std::string id = Submit(Request("r")).job().id();
  EXPECT_TRUE(old_link->closed);
  EXPECT_FALSE(link->closed);
  link->Next(v1::CoordinatorMessage::kLaunch);
  coordinator_->Receive(old_link, "a", Points(id, 1));
  coordinator_->Disconnect(old_link, "a");
  Barrier();
  EXPECT_TRUE(link->sent.empty());
  EXPECT_TRUE(coordinator_->view()->workers[0].connected());
  EXPECT_EQ((*coordinator_->view()->Find(id))->progress().step(), 0u);
  coordinator_->Disconnect(link, "a");
  Barrier();
  EXPECT_FALSE(coordinator_->view()->workers[0].connected());
}

TEST_F(CoordinatorTest, ALeaseFollowsTheMonotonicClockAlone) {
  Connect("a");
  Barrier();
  clock_.SetWall(clock_.Now() + absl::Hours(24 * 365));
  Barrier();
  EXPECT_THAT(coordinator_->view()->workers, SizeIs(1));
  clock_.Advance(absl::Milliseconds(config_.lease_ms));
  Barrier();
  EXPECT_THAT(coordinator_->view()->workers, IsEmpty());
}

TEST_F(CoordinatorTest, MessagesOfAWorkerWhoseLeaseRanOutAreDropped) {
  const auto link = Connect("a");
  Barrier();
  clock_.Advance(absl::Milliseconds(config_.lease_ms));
  Barrier();
  v1::WorkerMessage heartbeat;
  heartbeat.mutable_heartbeat()->set_sequence(1);
  while (!link->sent.empty()) link->sent.Pop();
  coordinator_->Receive(link, "a", heartbeat);
  Barrier();
  EXPECT_TRUE(link->sent.empty());  // its daemon's lease runs out, too, and it registers anew
  Connect("a");
  Barrier();
  EXPECT_THAT(coordinator_->view()->workers, SizeIs(1));
}

TEST_F(CoordinatorTest, ADrainIsSentAndShown) {
  const auto link = Connect("a");
  BlockingQueue<absl::Status> answers;
  coordinator_->DrainWorker("a", [&](const absl::Status& status) { answers.Push(status); });
  EXPECT_TRUE(answers.Pop().ok());
  link->Next(v1::CoordinatorMessage::kDrain);
  EXPECT_TRUE(coordinator_->view()->workers[0].draining());
  coordinator_->DrainWorker("b", [&](const absl::Status& status) { answers.Push(status); });
  EXPECT_EQ(answers.Pop().code(), absl::StatusCode::kNotFound);
}

TEST_F(CoordinatorTest, ListenersHearWhatEachCommitChanged) {
  const auto listener = std::make_shared<RecordingListener>();
  coordinator_->AddListener(listener);
  const auto link = Connect("a");
  Barrier();
  EXPECT_TRUE(listener->commits.empty());  // a worker alone is no commit
  const std::string id = Submit(Request("r")).job().id();
  const Committed submitted = listener->commits.Pop();
  ASSERT_THAT(submitted.jobs, SizeIs(1));
  EXPECT_EQ(submitted.jobs[0]->id(), id);
  EXPECT_EQ(submitted.view->jobs.at(id), submitted.jobs[0]);
  coordinator_->Receive(link, "a", Points(id, 1));
  const Committed reported = listener->commits.Pop();
  ASSERT_THAT(reported.points, SizeIs(1));
  EXPECT_EQ(reported.points[0].name, "loss");
  EXPECT_EQ(reported.jobs[0]->progress().step(), 3u);
}

TEST_F(CoordinatorTest, AListenerLeavesByBeingDestroyed) {
  auto gone = std::make_shared<RecordingListener>();
  const auto stays = std::make_shared<RecordingListener>();
  coordinator_->AddListener(gone);
  coordinator_->AddListener(stays);
  gone.reset();
  Submit(Request("r"));
  EXPECT_THAT(stays->commits.Pop().jobs, SizeIs(1));
}

TEST_F(CoordinatorTest, TooManyEventsAreRefusedAtOnce) {
  store_.HoldCommits();
  SubmitLater(Request("r"));
  store_.NextHeld();  // the coordinator's thread waits for the disk
  std::atomic<int> answered = 0;
  for (int i = 0; i < 100'000; ++i) coordinator_->Cancel("nobody", [&](const absl::StatusOr<v1::Job>&) { ++answered; });
  EXPECT_EQ(answered, 0);
  SubmitLater(Request("one too many"));
  const auto refused = submitted_.Pop();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("same request id"));
  EXPECT_TRUE(Connect("a")->closed);  // it will come again
  store_.EndHeld(absl::OkStatus());
  EXPECT_TRUE(submitted_.Pop().ok());
  coordinator_->Stop();
  EXPECT_EQ(answered, 100'000);
  EXPECT_FALSE(coordinator_->view()->jobs.empty());
}

TEST_F(CoordinatorTest, TheQueueIsAsOldAsTheJobThatWaitsLongest) {
  const auto oldest = [&] {
    Barrier();
    for (const prometheus::MetricFamily& family : registry_.Collect()) {
      if (family.name == "polymoe_queue_oldest_timestamp_seconds") return family.metric.at(0).gauge.value;
    }
    return -1.0;
  };
  coordinator_->Stop();
  ASSERT_TRUE(store_
                  .Commit({.jobs = {{.id = "held",
                                     .json = R"({"id": "held", "state": "JOB_STATE_PENDING", "createdMs": 1, "held": true})"}}})
                  .ok());
  Start();
  EXPECT_EQ(oldest(), 0);
  const double start = absl::ToUnixSeconds(clock_.Now());
  Submit(Request("r1", "a"));
  clock_.Advance(absl::Seconds(10));
  Submit(Request("r2", "b"));
  EXPECT_EQ(oldest(), start);
  const auto link = Connect("w");
  link->Next(v1::CoordinatorMessage::kLaunch);
  EXPECT_EQ(oldest(), start + 10);
}

}  // namespace
}  // namespace polymoe
