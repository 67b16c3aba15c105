// The daemon in this process, against a fake coordinator over real gRPC, with fake trainers as processes.
#include "worker/daemon/daemon.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/fakes/coordinator.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/daemon/launches.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

class DaemonTest : public ::testing::Test {
 protected:
  void Start() {
    DaemonOptions options;
    options.server = coordinator_.address();
    options.name = "w";
    options.host = "host";
    options.slots = 2;
    options.threads_per_slot = 3;
    options.work_dir = dir_.path();
    options.checkpoint_root = dir_.path() + "/checkpoints";
    options.trainer = FakeTrainer();
    options.stop_grace = absl::Milliseconds(500);
    auto daemon = Daemon::Start(options, registry_, [this] { drains_.Push(true); });
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
  }

  void Launch(const v1::Launch& launch) {
    v1::CoordinatorMessage message;
    *message.mutable_launch() = launch;
    coordinator_.Send(message);
  }
  // A daemon with a rank of j/1 that runs until it is asked to stop.
  void StartWithRank() {
    Start();
    coordinator_.NextRegister();
    Launch(MakeLaunch("j", 1, "gentle; print ready; wait"));
    ASSERT_EQ(coordinator_.NextReport().log().text(), "ready");
  }
  void Acknowledge(uint64_t sequence) {
    v1::CoordinatorMessage message;
    message.mutable_report_ack()->set_sequence(sequence);
    coordinator_.Send(message);
  }
  v1::Report NextExit() {
    v1::Report report;
    do report = coordinator_.NextReport();
    while (!report.has_exited());
    return report;
  }
  std::string Metrics() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  TempDir dir_;
  prometheus::Registry registry_;
  FakeCoordinator coordinator_;
  BlockingQueue<bool> drains_;
  std::unique_ptr<Daemon> daemon_;
};

TEST_F(DaemonTest, RegistersItsSlots) {
  Start();
  const v1::Register self = coordinator_.NextRegister();
  EXPECT_EQ(self.worker(), "w");
  EXPECT_EQ(self.host(), "host");
  EXPECT_EQ(self.instance().size(), 36u);
  EXPECT_FALSE(self.version().empty());
  ASSERT_EQ(self.slots_size(), 2);
  EXPECT_EQ(self.slots(1).index(), 1u);
  EXPECT_EQ(self.slots(1).device(), "cpu");
  EXPECT_EQ(self.slots(1).threads(), 3u);
  EXPECT_EQ(self.running_size(), 0);
}

TEST_F(DaemonTest, AnAddressThatMakesNoSenseIsAnError) {
  DaemonOptions options;
  options.server = "nowhere";
  options.work_dir = dir_.path();
  EXPECT_THAT(std::string(Daemon::Start(options, registry_, [] {}).status().message()), HasSubstr("has no port"));
}

TEST_F(DaemonTest, LaunchesAndReportsInOrder) {
  Start();
  coordinator_.NextRegister();
  Launch(MakeLaunch("j", 1, "started 0; points 1; print hello; exit 0"));
  uint64_t expected = 0;
  while (true) {
    const v1::Report report = coordinator_.NextReport();
    EXPECT_EQ(report.sequence(), ++expected);
    if (report.has_exited()) break;
  }
  EXPECT_EQ(expected, 4u);
  EXPECT_THAT(Metrics(), HasSubstr("polymoe_worker_reports_waiting 4"));
  EXPECT_THAT(Metrics(), HasSubstr("polymoe_worker_connected 1"));
}

TEST_F(DaemonTest, StopsWhatItIsToldToStop) {
  StartWithRank();
  v1::CoordinatorMessage stop;
  stop.mutable_stop()->set_job("j");
  stop.mutable_stop()->set_attempt(1);
  stop.mutable_stop()->set_grace_ms(600'000);
  coordinator_.Send(stop);
  const v1::Report end = NextExit();
  EXPECT_TRUE(end.exited().stopped());
  EXPECT_EQ(end.exited().exit().exit_code(), 0);
}

// The heart of it: what the coordinator did not acknowledge comes again, exactly and in order, and ranks never notice.
TEST_F(DaemonTest, ARestartOfTheCoordinatorLosesNothing) {
  Start();
  const std::string instance = coordinator_.NextRegister().instance();
  Launch(MakeLaunch("short", 1, "print a; print b; print c; exit 3"));
  std::vector<v1::Report> first;
  do first.push_back(coordinator_.NextReport());
  while (!first.back().has_exited());
  ASSERT_EQ(first.size(), 4u);
  Launch(MakeLaunch("long", 1, "gentle; print ready; wait"));
  first.push_back(coordinator_.NextReport());
  ASSERT_EQ(first.back().log().text(), "ready");
  Acknowledge(2);

  coordinator_.Stop();
  coordinator_.Start();
  const v1::Register again = coordinator_.NextRegister();
  EXPECT_EQ(again.instance(), instance);
  // The rank that runs, and the one whose end was not acknowledged.
  ASSERT_EQ(again.running_size(), 2);
  EXPECT_EQ(again.running(0).job(), "long");
  EXPECT_EQ(again.running(1).job(), "short");
  // The acknowledgement may have been lost with the connection; what comes again starts after it or at the start.
  const v1::Report next = coordinator_.NextReport();
  ASSERT_TRUE(next.sequence() == 3 || next.sequence() == 1) << next.sequence();
  for (size_t i = next.sequence() - 1; i < first.size(); ++i) {
    const v1::Report report = i == next.sequence() - 1 ? next : coordinator_.NextReport();
    EXPECT_EQ(report.SerializeAsString(), first[i].SerializeAsString());
  }

  Acknowledge(5);
  coordinator_.Stop();
  coordinator_.Start();
  coordinator_.NextRegister();
  Launch(MakeLaunch("last", 1, "exit 0"));  // it comes on a stream that is registered
  while (NextExit().rank().job() != "last") {
  }
  EXPECT_THAT(Metrics(), HasSubstr("polymoe_worker_reconnects_total 2"));
}

// More than the connection's buffers hold, so the daemon's writer is stuck in it when the session ends.
TEST_F(DaemonTest, ACoordinatorThatStopsReadingCannotHoldTheDaemon) {
  Start();
  coordinator_.NextRegister();
  coordinator_.set_reading(false);
  Launch(MakeLaunch("j", 1, "flood 20000; exit 0"));
  while (Metrics().find("polymoe_worker_trainer_exits_total{kind=\"ok\"} 1") == std::string::npos) std::this_thread::yield();
  coordinator_.set_reading(true);
  coordinator_.NextRegister();
  for (uint64_t sequence = 1; sequence <= 20'001; ++sequence) ASSERT_EQ(coordinator_.NextReport().sequence(), sequence);
}

TEST_F(DaemonTest, RanksOfAttemptsThatAreOverAreStoppedAtTheRegistration) {
  StartWithRank();
  coordinator_.Stop();
  coordinator_.Start();
  ASSERT_EQ(coordinator_.NextRegister().running_size(), 1);
  v1::CoordinatorMessage stop;
  stop.mutable_stop()->set_job("j");
  stop.mutable_stop()->set_attempt(1);
  stop.mutable_stop()->set_grace_ms(600'000);
  coordinator_.Send(stop);
  EXPECT_TRUE(NextExit().exited().stopped());
}

TEST_F(DaemonTest, ASilentCoordinatorCostsTheRanksAndTheConnection) {
  v1::Registered registered;
  registered.set_lease_ms(1000);
  registered.set_heartbeat_ms(20);
  coordinator_.set_registered(registered);
  StartWithRank();
  coordinator_.set_answer_heartbeats(false);
  // The session is given up and made anew; the rank has been stopped, whichever is told first.
  coordinator_.NextRegister();
  EXPECT_TRUE(NextExit().exited().stopped());
  EXPECT_THAT(Metrics(), HasSubstr("polymoe_worker_lease_expirations_total"));
}

TEST_F(DaemonTest, HeartbeatsKeepALeaseAlive) {
  v1::Registered registered;
  registered.set_lease_ms(1000);
  registered.set_heartbeat_ms(20);
  coordinator_.set_registered(registered);
  Start();
  coordinator_.NextRegister();
  // The rank outlives several leases.
  Launch(MakeLaunch("j", 1, "pause 2500; exit 0"));
  const v1::Report end = NextExit();
  EXPECT_FALSE(end.exited().stopped());
  EXPECT_EQ(end.exited().exit().exit_code(), 0);
  EXPECT_THAT(Metrics(), HasSubstr("polymoe_worker_lease_expirations_total 0"));
}

TEST_F(DaemonTest, DrainTellsStopsAndDelivers) {
  StartWithRank();
  v1::CoordinatorMessage drain;
  drain.mutable_drain();
  coordinator_.Send(drain);
  drains_.Pop();
  std::thread coordinator([this] {
    bool told = false;
    v1::WorkerMessage message;
    do {
      message = coordinator_.received().Pop();
      told |= message.draining();
    } while (!message.report().has_exited());
    EXPECT_TRUE(told);
    EXPECT_TRUE(message.report().exited().stopped());
    Acknowledge(message.report().sequence());
  });
  EXPECT_TRUE(daemon_->Drain());
  coordinator.join();
}

TEST_F(DaemonTest, StartsWithoutACoordinatorAndFindsItLater) {
  coordinator_.Stop();
  Start();
  coordinator_.Start();
  EXPECT_EQ(coordinator_.NextRegister().worker(), "w");
}

}  // namespace
}  // namespace polymoe
