// The real polymoe-worker program, from outside: signals, the address file, and what is left when it is killed.
#include "tests/fakes/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

#include "common/file.h"
#include "common/process.h"
#include "tests/fakes/coordinator.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/daemon/launches.h"
#include "worker/daemon/descriptor.h"

namespace polymoe {
namespace {

using ::testing::StartsWith;

class ProgramTest : public ::testing::Test {
 protected:
  ~ProgramTest() override {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  void Start(const std::string& checkpoint_root = "") {
    const auto pid = StartProcess(
        {.argv = {BuiltProgram("polymoe-worker"), "--server", coordinator_.address(), "--name", "w", "--slots", "2", "--work-dir",
                  dir_.path(), "--trainer", FakeTrainer(), "--address-file", dir_.path() + "/address", "--stop-grace", "600",
                  "--log-format", "json", "--checkpoint-root", checkpoint_root.empty() ? dir_.path() + "/ck" : checkpoint_root}});
    ASSERT_TRUE(pid.ok()) << pid.status();
    pid_ = *pid;
    coordinator_.NextRegister();
  }

  void Launch(const std::string& script) {
    v1::CoordinatorMessage message;
    *message.mutable_launch() = MakeLaunch("j", 1, script, 2);
    coordinator_.Send(message);
  }

  // Of the daemon; reaps it.
  ProcessExit WaitForEnd() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return ToProcessExit(status);
  }

  TempDir dir_;
  FakeCoordinator coordinator_;
  pid_t pid_ = -1;
};

TEST_F(ProgramTest, CheckpointsMayBeInAnObjectStore) {
  Start("s3://bucket/p");
  Launch("args; wait");
  std::string argument;
  do argument = coordinator_.NextReport().log().text();
  while (argument.find("bucket/p/j") == std::string::npos);
  EXPECT_EQ(argument, "s3://bucket/p/j") << "not a path below this folder";
}

TEST_F(ProgramTest, TrainersDieWithAKilledDaemon) {
  Start();
  Launch("stubborn; pid; wait");
  std::vector<Descriptor> trainers;
  for (int i = 0; i < 2; ++i) {
    const int pid = std::stoi(coordinator_.NextReport().log().text());
    trainers.emplace_back(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    ASSERT_GE(trainers.back().get(), 0);
  }
  kill(pid_, SIGKILL);
  EXPECT_EQ(WaitForEnd().signal, SIGKILL);
  for (const Descriptor& trainer : trainers) {
    pollfd ended = {.fd = trainer.get(), .events = POLLIN};
    EXPECT_EQ(poll(&ended, 1, 60'000), 1) << "a trainer outlived its daemon";
  }
}

TEST_F(ProgramTest, SigtermDrainsAndExitsWithZero) {
  Start();
  Launch("gentle; print ready; wait");
  for (int i = 0; i < 2; ++i) ASSERT_EQ(coordinator_.NextReport().log().text(), "ready");
  const auto address = ReadFile(dir_.path() + "/address");
  ASSERT_TRUE(address.ok()) << address.status();
  EXPECT_THAT(nlohmann::json::parse(*address)["metrics"].get<std::string>(), StartsWith("127.0.0.1:"));
  kill(pid_, SIGTERM);
  bool told = false;
  uint64_t last = 0;
  for (int ends = 0; ends < 2;) {
    const v1::WorkerMessage message = coordinator_.received().Pop();
    told |= message.draining();
    ends += message.report().has_exited();
    if (message.has_report()) last = message.report().sequence();
  }
  EXPECT_TRUE(told);
  v1::CoordinatorMessage ack;
  ack.mutable_report_ack()->set_sequence(last);
  coordinator_.Send(ack);
  EXPECT_TRUE(WaitForEnd().ok());
}

TEST_F(ProgramTest, BadFlagsExitWithTwo) {
  const std::string program = BuiltProgram("polymoe-worker");
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{"--slots", "0"}, {"--work-dir", dir_.path(), "--server", "host"}}) {
    ProcessOptions process = {.argv = {program}};
    process.argv.insert(process.argv.end(), flags.begin(), flags.end());
    const auto pid = StartProcess(process);
    ASSERT_TRUE(pid.ok()) << pid.status();
    pid_ = *pid;
    EXPECT_EQ(WaitForEnd().exit_code, 2) << flags[0];
  }
}

TEST_F(ProgramTest, ADrainMessageEndsItToo) {
  Start();
  v1::CoordinatorMessage drain;
  drain.mutable_drain();
  coordinator_.Send(drain);
  EXPECT_TRUE(WaitForEnd().ok());
}

}  // namespace
}  // namespace polymoe
