// polyctl as a process: colours only on terminals, a cluster on this machine, interrupted by Ctrl-C.
#include "tests/fakes/program.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include <nlohmann/json.hpp>

#include "common/check.h"
#include "common/cpus.h"
#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/polyctl/fake_server.h"
#include "tests/polyctl/sample_ablation.h"

namespace polymoe::polyctl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// What polyctl prints when its stdout is a terminal.
std::string OnATerminal(const std::string& server, std::vector<std::pair<std::string, std::string>> environment,
                        const std::vector<std::string>& args = {"ls"}) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  POLYMOE_CHECK(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
  const int theirs = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
  environment.push_back({"POLYMOE_SERVER", server});
  std::vector<std::string> argv = {BuiltProgram("polyctl")};
  argv.insert(argv.end(), args.begin(), args.end());
  const auto pid = StartProcess({.argv = argv, .environment = environment, .descriptors = {{theirs, 1}}});
  POLYMOE_CHECK(pid.ok(), "%s", pid.status().ToString().c_str());
  close(theirs);
  std::string text;
  char buffer[4096];
  for (ssize_t size; (size = read(terminal, buffer, sizeof(buffer))) > 0;) text.append(buffer, size);
  close(terminal);
  EXPECT_EQ(Reap(*pid).exit_code, 0);
  return text;
}

TEST(Colours, OnTerminalsOnly) {
  FakeServer server;
  server.jobs.list = [](auto&, v1::ListJobsResponse* response) {
    *response->add_jobs() = RunningJob("moe-1", 1'000'000'000'000);
    return grpc::Status::OK;
  };
  const std::string coloured = OnATerminal(server.address(), {{"TERM", "xterm"}, {"NO_COLOR", ""}});
  EXPECT_THAT(coloured, HasSubstr("\033[34mrunning\033[0m"));
  EXPECT_THAT(OnATerminal(server.address(), {{"TERM", "xterm"}, {"NO_COLOR", "1"}}),
              AllOf(HasSubstr("running"), Not(HasSubstr("\033"))));
  EXPECT_THAT(OnATerminal(server.address(), {{"TERM", "dumb"}, {"NO_COLOR", ""}}),
              AllOf(HasSubstr("running"), Not(HasSubstr("\033"))));
  const Output piped =
      RunProgram({BuiltProgram("polyctl"), "ls", "--server", server.address()}, {{"TERM", "xterm"}, {"NO_COLOR", ""}});
  EXPECT_THAT(piped.out, AllOf(HasSubstr("running"), Not(HasSubstr("\033"))));
}

TEST(Letters, BrailleOnlyWhereTheTerminalKnowsIt) {
  FakeServer server;
  server.metrics.compare_ablation = [](auto&, v1::AblationComparison* comparison) {
    *comparison = SampleComparison();
    return grpc::Status::OK;
  };
  const auto compare = [&](const std::string& locale) {
    return OnATerminal(server.address(), {{"TERM", "xterm"}, {"NO_COLOR", "1"}, {"LC_ALL", locale}}, {"compare", "activations"});
  };
  EXPECT_THAT(compare("C.UTF-8"), AllOf(HasSubstr("\u28c0"), HasSubstr("±")));
  const std::string plain = compare("C");
  EXPECT_THAT(plain, HasSubstr("+/- 0."));
  for (const char c : plain) ASSERT_LT(static_cast<unsigned char>(c), 0x80) << plain;
}

TEST(Streams, AFullDiskIsNotSilent) {
  const Output full = RunProgram({"/bin/sh", "-c", absl::StrCat(BuiltProgram("polyctl"), " help exit-codes > /dev/full")});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.err, HasSubstr("cannot write to standard output"));
}

TEST(Interrupt, LeavesWithTheShellsCode) {
  FakeServer server;
  std::promise<void> watching;
  server.jobs.watch = [&watching](auto&, grpc::ServerContext* context, auto* writer) {
    v1::WatchJobsResponse response;
    *response.mutable_job() = RunningJob("moe-1", 1'000'000'000'000);
    writer->Write(response);
    watching.set_value();
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    return grpc::Status::CANCELLED;
  };
  const auto pid = StartProcess({.argv = {BuiltProgram("polyctl"), "ls", "-w", "--server", server.address()}});
  ASSERT_TRUE(pid.ok());
  watching.get_future().wait();
  ASSERT_EQ(kill(*pid, SIGINT), 0);
  EXPECT_EQ(Reap(*pid).signal, SIGINT) << "which a shell shows as 130";
}

class LocalTest : public ::testing::Test {
 protected:
  ~LocalTest() override { Local({"down"}); }
  Output Local(std::vector<std::string> args) {
    args.insert(args.begin(), {BuiltProgram("polyctl"), "local"});
    args.insert(args.end(), {"--dir", dir_.path() + "/cluster"});
    return RunProgram(args, {{"NO_COLOR", "1"}});
  }
  Output Up(std::vector<std::string> args = {}) {
    args.insert(args.begin(), {"up", "--port", "0", "--metrics-port", "0"});
    return Local(args);
  }

  TempDir dir_;
};

TEST_F(LocalTest, UpStatusDownAndUpAgain) {
  const Output up = Up({"--workers", "2"});
  ASSERT_EQ(up.exit_code, 0) << up.err;
  const std::string address(absl::StripSuffix(up.out, "\n"));
  EXPECT_THAT(up.err, HasSubstr(absl::StrCat("export POLYMOE_SERVER=", address)));
  const auto workers = [&address] {
    const Output ls = RunProgram({BuiltProgram("polyctl"), "workers", "ls", "-o", "name", "--server", address});
    return ls.out;
  };
  EXPECT_TRUE(WaitUntil([&] { return workers() == "local-1\nlocal-2\n"; })) << workers();
  const Output status = Local({"status"});
  EXPECT_EQ(status.exit_code, 0);
  EXPECT_THAT(status.out, AllOf(HasSubstr("server "), HasSubstr("local-2  "), HasSubstr("running"), Not(HasSubstr("ended"))));
  const Output again = Up();
  EXPECT_EQ(again.exit_code, 5);
  EXPECT_THAT(again.err, HasSubstr("polyctl local down"));
  EXPECT_EQ(Local({"down"}).exit_code, 0);
  EXPECT_EQ(RunProgram({BuiltProgram("polyctl"), "ls", "--server", address}).exit_code, 6);
  const Output gone = Local({"status"});
  EXPECT_EQ(gone.exit_code, 3);
  EXPECT_THAT(gone.err, HasSubstr("polyctl local up"));
  EXPECT_EQ(Up().exit_code, 0) << "on what was there";
}

TEST_F(LocalTest, WorkersHaveTheirOwnCpusWhenThereAreEnough) {
  const size_t each = UsableCpus().size() / 2;
  if (each == 0) GTEST_SKIP() << "one CPU cannot be shared out";
  const Output up = Up({"--workers", "2"});
  ASSERT_EQ(up.exit_code, 0) << up.err;
  const auto processes = nlohmann::json::parse(*ReadFile(dir_.path() + "/cluster/cluster.json"));
  cpu_set_t masks[2], both;
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(sched_getaffinity(processes[i + 1]["pid"], sizeof(cpu_set_t), &masks[i]), 0);
    EXPECT_EQ(CPU_COUNT(&masks[i]), each);
  }
  CPU_AND(&both, &masks[0], &masks[1]);
  EXPECT_EQ(CPU_COUNT(&both), 0);
}

TEST_F(LocalTest, AProgramThatDiedIsSeenAndNeverKilledByItsOldNumber) {
  const Output up = Up();
  ASSERT_EQ(up.exit_code, 0) << up.err;
  const std::string record = dir_.path() + "/cluster/cluster.json";
  auto processes = nlohmann::json::parse(*ReadFile(record));
  const pid_t worker = processes[1]["pid"];
  ASSERT_EQ(kill(worker, SIGKILL), 0);
  Output status;
  EXPECT_TRUE(WaitUntil([&] { return (status = Local({"status"})).exit_code == 1; }));
  EXPECT_THAT(status.out, AllOf(HasSubstr("server"), HasSubstr("ended")));
  // As if our own number had been the worker's once: we are another process, and must live.
  processes[1]["pid"] = getpid();
  ASSERT_TRUE(WriteFileDurably(record, processes.dump()).ok());
  EXPECT_EQ(Local({"down"}).exit_code, 0);
  const std::string address(absl::StripSuffix(up.out, "\n"));
  EXPECT_EQ(RunProgram({BuiltProgram("polyctl"), "ls", "--server", address}).exit_code, 6) << "the coordinator is gone";
}

TEST_F(LocalTest, WhatDoesNotComeUpIsSaidWithItsReason) {
  FakeServer taken;
  const std::string port = taken.address().substr(taken.address().rfind(':') + 1);
  const Output up = Local({"up", "--port", port, "--metrics-port", "0"});
  EXPECT_EQ(up.exit_code, 6);
  EXPECT_EQ(up.out, "");
  EXPECT_THAT(up.err, AllOf(HasSubstr("server ended at once"), HasSubstr("server.log"), HasSubstr("the port is in use")));
  EXPECT_EQ(Local({"status"}).exit_code, 3) << "nothing is left running";
}

TEST_F(LocalTest, ARecordThatIsDamagedIsSaid) {
  ASSERT_TRUE(MakeDirectories(dir_.path() + "/cluster").ok());
  ASSERT_TRUE(WriteFileDurably(dir_.path() + "/cluster/cluster.json", "[{").ok());
  const Output status = Local({"status"});
  EXPECT_EQ(status.exit_code, 1);
  EXPECT_THAT(status.err, HasSubstr("cluster.json"));
  ASSERT_TRUE(RemoveTree(dir_.path() + "/cluster").ok());
}

}  // namespace
}  // namespace polymoe::polyctl
