#include "worker/daemon/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <signal.h>
#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "polymoe/v1/worker.pb.h"

#include "common/cpus.h"
#include "common/file.h"
#include "tests/fakes/blocking_queue.h"
#include "tests/fakes/clock.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/daemon/launches.h"
#include "worker/daemon/daemon_metrics.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kLongGrace = absl::Minutes(10);

class SupervisorTest : public ::testing::Test {
 protected:
  void StartAt(const Clock& clock) { Start(FakeTrainer(), 4, 3, clock); }
  void Start(const std::string& trainer = FakeTrainer(), uint32_t slots = 4, uint32_t threads_per_slot = 3,
             const Clock& clock = Clock::Real()) {
    SupervisorOptions options;
    options.worker = "w";
    options.host = "h";
    options.bind = bind_;
    options.server = "127.0.0.1:1";
    options.trainer = trainer;
    options.work_dir = dir_.path();
    options.checkpoint_root = "/checkpoints";
    options.slots = slots;
    options.threads_per_slot = threads_per_slot;
    options.stop_grace = absl::ZeroDuration();
    supervisor_ = std::make_unique<Supervisor>(
        options, clock, &metrics_, [this](v1::Report report) { reports_.Push(std::move(report)); },
        [this] { lease_expiries_.Push(true); });
  }

  // Reports up to the next end of a rank, that one included.
  std::vector<v1::Report> UntilExit() {
    std::vector<v1::Report> reports;
    do {
      reports.push_back(reports_.Pop());
    } while (!reports.back().has_exited());
    return reports;
  }
  v1::RankExited NextExit() { return UntilExit().back().exited(); }
  std::vector<std::string> LinesUntilExit() {
    std::vector<std::string> lines;
    for (const v1::Report& report : UntilExit()) {
      if (report.has_log()) lines.push_back(report.log().text());
    }
    return lines;
  }
  void WaitForLine(const std::string& text) {
    while (reports_.Pop().log().text() != text) {
    }
  }

  // Wakes the thread, which then looks at the time.
  void LookAtTheTime() { supervisor_->Stop("nobody", 1, kLongGrace); }
  void Touch(const std::string& name) { ASSERT_TRUE(WriteFileDurably(absl::StrCat(dir_.path(), "/", name), "").ok()); }

  TempDir dir_;
  FakeClock fake_clock_;
  std::string bind_;
  prometheus::Registry registry_;
  DaemonMetrics metrics_{registry_};
  BlockingQueue<v1::Report> reports_;
  BlockingQueue<bool> lease_expiries_;
  std::unique_ptr<Supervisor> supervisor_;
};

TEST_F(SupervisorTest, ReportsEverythingThatARankSays) {
  Start();
  supervisor_->Launch(
      MakeLaunch("j", 2, "started 5; print hello; points 6; checkpoint 7 /c/7; stderr oops; error bad data; exit 3"));
  std::vector<v1::Report> reports = UntilExit();
  std::string events, lines;  // the two pipes are in order each
  for (const v1::Report& report : reports) {
    EXPECT_EQ(report.rank().job(), "j");
    EXPECT_EQ(report.rank().attempt(), 2u);
    if (report.has_started()) absl::StrAppend(&events, "started ", report.started().start_step(), " ");
    if (report.has_points()) absl::StrAppend(&events, "points ", report.points().step(), " ");
    if (report.has_checkpoint()) absl::StrAppend(&events, "checkpoint ", report.checkpoint().path());
    if (report.has_log()) absl::StrAppend(&lines, report.log().number(), ":", report.log().text(), " ");
  }
  EXPECT_EQ(events, "started 5 points 6 checkpoint /c/7");
  EXPECT_EQ(lines, "1:hello 2:oops ");
  const v1::RankExited& exited = reports.back().exited();
  EXPECT_EQ(exited.exit().exit_code(), 3);
  EXPECT_EQ(exited.exit().signal(), 0);
  EXPECT_EQ(exited.exit().worker(), "w");
  EXPECT_THAT(exited.exit().last_lines(), ElementsAre("hello", "oops"));
  EXPECT_EQ(exited.error(), "bad data");
  EXPECT_FALSE(exited.stopped());
  EXPECT_TRUE(supervisor_->WaitUntilIdle(absl::Seconds(60)));
  EXPECT_THAT(supervisor_->Running(), IsEmpty());
  EXPECT_EQ(*ReadFile(dir_.path() + "/jobs/j/attempt-2/rank-0.log"), "hello\noops\n");
  EXPECT_EQ(metrics_.exits_failed.Value(), 1);
  EXPECT_EQ(metrics_.slots_free.Value(), 4);
}

TEST_F(SupervisorTest, GivesTheTrainerItsFlags) {
  Start();
  v1::Launch launch = MakeLaunch("j", 1, "args; env OMP_NUM_THREADS");
  launch.set_world_size(8);
  launch.set_resume_path("/checkpoints/j/step-10");
  supervisor_->Launch(launch);
  EXPECT_THAT(LinesUntilExit(),
              ElementsAre(FakeTrainer(), "--spec", dir_.path() + "/jobs/j/attempt-1/job.yaml", "--checkpoint-dir", "/checkpoints/j",
                          "--resume", "/checkpoints/j/step-10", "--job", "j", "--attempt", "1", "--rank", "0", "--world-size", "8",
                          "--server", "127.0.0.1:1", "--events-fd", "3", "--threads", "3", "3"));
}

TEST_F(SupervisorTest, SlotsThatFillTheMachineHaveTheirOwnCpus) {
  const std::vector<int> cpus = UsableCpus();
  const auto slots = static_cast<uint32_t>(cpus.size());
  Start(FakeTrainer(), slots, 1);
  v1::Launch launch = MakeLaunch("j", 1, "cpus");
  launch.mutable_placements(0)->set_slot(slots - 1);
  supervisor_->Launch(launch);
  EXPECT_THAT(LinesUntilExit(), ElementsAre(absl::StrCat(cpus.back())));
}

TEST_F(SupervisorTest, SlotsThatAreTooManyShareAllCpus) {
  const std::vector<int> cpus = UsableCpus();
  Start(FakeTrainer(), static_cast<uint32_t>(cpus.size()) + 1, 1);
  supervisor_->Launch(MakeLaunch("j", 1, "cpus"));
  EXPECT_THAT(LinesUntilExit(), ElementsAre(absl::StrJoin(cpus, ",")));
}

TEST_F(SupervisorTest, ThreadsSpinShortlyUnlessTheUserWantsOtherwise) {
  const char kScript[] = "env GOMP_SPINCOUNT; env OMP_WAIT_POLICY";
  const auto lines = [&](const std::string& job) {
    Start();
    supervisor_->Launch(MakeLaunch(job, 1, kScript));
    std::vector<std::string> said = LinesUntilExit();
    supervisor_.reset();  // before the next change of the environment, which its thread reads
    return said;
  };
  unsetenv("GOMP_SPINCOUNT");
  unsetenv("OMP_WAIT_POLICY");
  EXPECT_THAT(lines("neither"), ElementsAre("10000", ""));
  setenv("OMP_WAIT_POLICY", "active", 1);
  EXPECT_THAT(lines("policy"), ElementsAre("", "active"));
  unsetenv("OMP_WAIT_POLICY");
  setenv("GOMP_SPINCOUNT", "7", 1);
  EXPECT_THAT(lines("count"), ElementsAre("7", ""));
  unsetenv("GOMP_SPINCOUNT");
}

TEST_F(SupervisorTest, KeepsTheLastTwentyLinesAndAllOfALongOutput) {
  Start();
  std::string script;
  for (int i = 1; i <= 50; ++i) absl::StrAppend(&script, "print ", i, ";");
  supervisor_->Launch(MakeLaunch("j", 1, script + "partial end; crash 11"));
  const std::vector<v1::Report> reports = UntilExit();
  EXPECT_EQ(reports.size(), 52u);
  const v1::ExitInfo& exit = reports.back().exited().exit();
  ASSERT_EQ(exit.last_lines_size(), 20);
  EXPECT_EQ(exit.last_lines(0), "32");
  EXPECT_EQ(exit.last_lines(19), "end");
  EXPECT_EQ(exit.exit_code(), -1);
  EXPECT_EQ(exit.signal(), SIGSEGV);
  EXPECT_EQ(metrics_.exits_killed.Value(), 1);
}

TEST_F(SupervisorTest, OneRankKilledLeavesTheOthersAlone) {
  Start();
  supervisor_->Launch(MakeLaunch("other", 1, "gentle; print ready; wait"));
  WaitForLine("ready");
  supervisor_->Launch(MakeLaunch("victim", 1, "crash 9"));
  const v1::Report end = UntilExit().back();
  EXPECT_EQ(end.rank().job(), "victim");
  EXPECT_EQ(end.exited().exit().signal(), SIGKILL);
  EXPECT_FALSE(end.exited().stopped());
  supervisor_->Stop("other", 1, kLongGrace);
  EXPECT_EQ(NextExit().exit().exit_code(), 0);
}

TEST_F(SupervisorTest, AGentleStopIsEnoughForAGentleTrainer) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "gentle; print ready; wait"));
  WaitForLine("ready");
  supervisor_->Stop("j", 2, absl::ZeroDuration());  // unknown attempt
  supervisor_->Stop("j", 1, kLongGrace);
  supervisor_->Stop("j", 1, kLongGrace);
  const v1::RankExited exited = NextExit();
  EXPECT_EQ(exited.exit().exit_code(), 0);
  EXPECT_TRUE(exited.stopped());
  EXPECT_EQ(metrics_.exits_stopped.Value(), 1);
}

TEST_F(SupervisorTest, AStubbornTrainerIsKilledAfterTheGrace) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "stubborn; print ready; wait"));
  WaitForLine("ready");
  const absl::Duration start = Clock::Real().Monotonic();
  supervisor_->Stop("j", 1, absl::Milliseconds(50));
  const v1::RankExited exited = NextExit();
  EXPECT_GE(Clock::Real().Monotonic() - start, absl::Milliseconds(50));
  EXPECT_EQ(exited.exit().signal(), SIGKILL);
  EXPECT_TRUE(exited.stopped());
}

TEST_F(SupervisorTest, ASecondStopCanOnlyShortenTheGrace) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "stubborn; print ready; wait"));
  WaitForLine("ready");
  supervisor_->Stop("j", 1, kLongGrace);
  supervisor_->Stop("j", 1, absl::ZeroDuration());
  supervisor_->Stop("j", 1, kLongGrace);
  EXPECT_EQ(NextExit().exit().signal(), SIGKILL);
}

TEST_F(SupervisorTest, ASignalOfSomebodyElseIsNewsThoughItWasToldToStop) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, absl::StrCat("stubborn; print ready; await ", dir_.path(), "/go; crash 11")));
  WaitForLine("ready");
  supervisor_->Stop("j", 1, kLongGrace);
  Touch("go");
  const v1::RankExited exited = NextExit();
  EXPECT_EQ(exited.exit().signal(), SIGSEGV);
  EXPECT_FALSE(exited.stopped());
}

TEST_F(SupervisorTest, ARankWithoutASignOfProgressIsKilled) {
  StartAt(fake_clock_);
  const auto await = [&](const char* name) { return absl::StrCat("await ", dir_.path(), "/", name, "; "); };
  v1::Launch launch = MakeLaunch("j", 1,
                                 absl::StrCat("print loads; ", await("a"), "started 3; print trains; ", await("b"),
                                              "progress 7; print b; ", await("c"), "print c; wait"));
  launch.mutable_file()->mutable_spec()->mutable_restart()->set_stall_seconds(100);
  supervisor_->Launch(launch);
  WaitForLine("loads");
  fake_clock_.Advance(absl::Hours(1));  // the coordinator's business
  LookAtTheTime();
  Touch("a");
  WaitForLine("trains");
  fake_clock_.Advance(absl::Seconds(149));
  LookAtTheTime();
  Touch("b");
  WaitForLine("b");
  fake_clock_.Advance(absl::Seconds(149));
  LookAtTheTime();
  Touch("c");
  WaitForLine("c");  // a line of its log is no progress
  fake_clock_.Advance(absl::Seconds(1));
  LookAtTheTime();
  const std::vector<v1::Report> reports = UntilExit();
  EXPECT_EQ(reports.size(), 1u);
  const v1::RankExited& exited = reports.back().exited();
  EXPECT_TRUE(exited.stalled());
  EXPECT_FALSE(exited.stopped());
  EXPECT_EQ(exited.exit().signal(), SIGKILL);
  EXPECT_EQ(exited.error(), "rank 0 on h made no progress for 2m30s after step 7; it was killed");
  EXPECT_EQ(metrics_.exits_stalled.Value(), 1);
}

TEST_F(SupervisorTest, ProgressIsForItsDaemonAlone) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "started 3; progress 7; exit 0"));
  EXPECT_THAT(UntilExit(), SizeIs(2));
}

TEST_F(SupervisorTest, TheGraceOfAStopRulesOverTheWatch) {
  StartAt(fake_clock_);
  v1::Launch launch = MakeLaunch("j", 1, "stubborn; started 3; print trains; wait");
  launch.mutable_file()->mutable_spec()->mutable_restart()->set_stall_seconds(1);
  supervisor_->Launch(launch);
  WaitForLine("trains");
  supervisor_->Stop("j", 1, absl::Seconds(100));
  supervisor_->Launch(MakeLaunch("k", 1, "exit 0"));  // behind the stop
  EXPECT_EQ(NextExit().exit().exit_code(), 0);
  fake_clock_.Advance(absl::Seconds(100));
  LookAtTheTime();
  const v1::RankExited exited = NextExit();
  EXPECT_FALSE(exited.stalled());
  EXPECT_TRUE(exited.stopped());
}

TEST_F(SupervisorTest, TellsTheTrainerWhereToMeetTheOthers) {
  bind_ = "eth7";
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "args"));
  const std::vector<std::string> args = LinesUntilExit();
  EXPECT_THAT(std::vector<std::string>(args.end() - 2, args.end()), ElementsAre("--bind", "eth7"));
}

TEST_F(SupervisorTest, ARepeatedLaunchChangesNothing) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "exit 0", 2));
  NextExit();
  NextExit();
  supervisor_->Launch(MakeLaunch("j", 1, "exit 0", 2));  // its ranks have ended already
  supervisor_->Launch(MakeLaunch("k", 1, "gentle; print ready; wait"));
  supervisor_->Launch(MakeLaunch("k", 1, "gentle; print ready; wait"));
  supervisor_->Stop("k", 1, kLongGrace);
  const v1::Report end = UntilExit().back();
  EXPECT_EQ(end.rank().job(), "k");
  EXPECT_TRUE(supervisor_->WaitUntilIdle(absl::Seconds(60)));
  EXPECT_EQ(metrics_.exits_ok.Value(), 2);
  EXPECT_TRUE(reports_.empty());
}

TEST_F(SupervisorTest, ANewerAttemptKillsTheOlderOneAndAnOlderOneIsIgnored) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "stubborn; print ready; wait"));
  WaitForLine("ready");
  supervisor_->Launch(MakeLaunch("j", 2, "exit 5"));
  supervisor_->Launch(MakeLaunch("j", 1, "print never", 3));
  v1::RankExited ends[2];  // by attempt
  for (int i = 0; i < 2; ++i) {
    const v1::Report end = UntilExit().back();
    ends[end.rank().attempt() - 1] = end.exited();
  }
  EXPECT_EQ(ends[0].exit().signal(), SIGKILL);
  EXPECT_TRUE(ends[0].stopped());
  EXPECT_EQ(ends[1].exit().exit_code(), 5);
  EXPECT_TRUE(supervisor_->WaitUntilIdle(absl::Seconds(60)));
  EXPECT_TRUE(reports_.empty());
}

TEST_F(SupervisorTest, AMissingTrainerIsAnEndWithASentence) {
  Start("/no/such/polymoe-train");
  supervisor_->Launch(MakeLaunch("j", 1, "exit 0", 2));
  for (uint32_t rank = 0; rank < 2; ++rank) {
    const v1::RankExited exited = NextExit();
    EXPECT_EQ(exited.exit().rank(), rank);
    EXPECT_EQ(exited.exit().exit_code(), 127);
    EXPECT_EQ(exited.error(),
              "cannot start /no/such/polymoe-train: No such file or directory; polymoe-worker --trainer gives its path");
  }
  EXPECT_EQ(metrics_.exits_not_started.Value(), 2);
}

TEST_F(SupervisorTest, AFolderThatCannotBeMadeIsAnEndWithASentence) {
  Start();
  ASSERT_TRUE(WriteFileDurably(dir_.path() + "/jobs", "a file, where a folder should be").ok());
  supervisor_->Launch(MakeLaunch("j", 1, "exit 0"));
  const v1::RankExited exited = NextExit();
  EXPECT_EQ(exited.exit().exit_code(), 127);
  EXPECT_THAT(exited.error(), HasSubstr(dir_.path() + "/jobs"));
}

TEST_F(SupervisorTest, AJobIdCannotLeaveTheFolder) {
  Start();
  supervisor_->Launch(MakeLaunch("../../evil", 1, "exit 0"));
  EXPECT_THAT(NextExit().error(), HasSubstr("a job id has only letters"));
}

TEST_F(SupervisorTest, AGarbledEventsPipeEndsTheRank) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "garbage; wait"));
  const v1::RankExited exited = NextExit();
  EXPECT_EQ(exited.exit().signal(), SIGKILL);
  EXPECT_THAT(exited.error(), HasSubstr("events pipe is garbled"));
  EXPECT_FALSE(exited.stopped());
}

TEST_F(SupervisorTest, APipeThatAGrandchildHoldsOpenDelaysNothing) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "leave-child; exit 0"));
  const std::vector<v1::Report> reports = UntilExit();
  ASSERT_TRUE(reports.front().has_log());
  kill(std::stoi(reports.front().log().text()), SIGKILL);
}

TEST_F(SupervisorTest, AnExpiredLeaseStopsAllAndRefusesLaunchesUntilItIsRenewed) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "gentle; print ready; wait"));
  WaitForLine("ready");
  supervisor_->RenewLease(Clock::Real().Monotonic() + absl::Milliseconds(20));
  EXPECT_TRUE(NextExit().stopped());
  lease_expiries_.Pop();
  supervisor_->RenewLease(Clock::Real().Monotonic());  // an answer that came too late
  supervisor_->Launch(MakeLaunch("k", 1, "exit 0"));
  EXPECT_THAT(NextExit().error(), HasSubstr("lease had run out"));
  supervisor_->RenewLease(Clock::Real().Monotonic() + absl::Hours(1));
  supervisor_->Launch(MakeLaunch("l", 1, "exit 0"));
  EXPECT_EQ(NextExit().exit().exit_code(), 0);
  EXPECT_TRUE(lease_expiries_.empty());
  EXPECT_EQ(metrics_.lease_expirations.Value(), 1);
}

TEST_F(SupervisorTest, DrainStopsAllAndTakesNoMore) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "stubborn; print ready; wait", 2));
  WaitForLine("ready");
  supervisor_->Drain();
  EXPECT_TRUE(NextExit().stopped());
  EXPECT_TRUE(NextExit().stopped());
  supervisor_->Launch(MakeLaunch("k", 1, "exit 0"));
  const v1::RankExited refused = NextExit();
  EXPECT_THAT(refused.error(), HasSubstr("being drained"));
  EXPECT_TRUE(refused.stopped()) << "the job would be blamed";
}

TEST_F(SupervisorTest, ItsEndKillsTheRanks) {
  Start();
  supervisor_->Launch(MakeLaunch("j", 1, "stubborn; leave-child; print ready; wait"));
  const v1::Report first = reports_.Pop();
  WaitForLine("ready");
  supervisor_.reset();  // would hang if the rank were not killed
  kill(std::stoi(first.log().text()), SIGKILL);
  EXPECT_TRUE(reports_.empty());
}

}  // namespace
}  // namespace polymoe
