#include "common/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "common/cpus.h"

namespace polymoe {
namespace {

ProcessExit WaitFor(pid_t pid) {
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return ToProcessExit(status);
}

std::string ReadAll(int fd) {
  std::string text;
  char chunk[4096];
  for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;) text.append(chunk, n);
  return text;
}

TEST(Process, DescriptorsAndEnvironmentArrive) {
  int out[2];
  ASSERT_EQ(pipe(out), 0);
  const auto pid = StartProcess(
      {.argv = {"/bin/sh", "-c", "echo \"$GREETING\" >&7"}, .environment = {{"GREETING", "hello"}}, .descriptors = {{out[1], 7}}});
  ASSERT_TRUE(pid.ok()) << pid.status();
  close(out[1]);
  EXPECT_EQ(ReadAll(out[0]), "hello\n");
  close(out[0]);
  EXPECT_TRUE(WaitFor(*pid).ok());
}

TEST(Process, RunsOnTheCpusThatItIsGiven) {
  const int cpu = UsableCpus().back();
  int out[2];
  ASSERT_EQ(pipe(out), 0);
  const auto pid =
      StartProcess({.argv = {"/bin/grep", "Cpus_allowed_list", "/proc/self/status"}, .descriptors = {{out[1], 1}}, .cpus = {cpu}});
  ASSERT_TRUE(pid.ok()) << pid.status();
  close(out[1]);
  EXPECT_EQ(ReadAll(out[0]), "Cpus_allowed_list:\t" + std::to_string(cpu) + "\n");
  close(out[0]);
  EXPECT_TRUE(WaitFor(*pid).ok());
}

TEST(Process, CpusThatAreNotThereAreAnError) {
  const auto pid = StartProcess({.argv = {"/bin/true"}, .cpus = {100'000}});
  EXPECT_EQ(pid.status().code(), absl::StatusCode::kInvalidArgument) << pid.status();
}

TEST(Process, ExitsAreDescribed) {
  const auto failing = StartProcess({.argv = {"/bin/sh", "-c", "exit 3"}});
  ASSERT_TRUE(failing.ok());
  EXPECT_EQ(Describe(WaitFor(*failing)), "exit code 3");
  const auto killed = StartProcess({.argv = {"/bin/sleep", "1000"}});
  ASSERT_TRUE(killed.ok());
  ASSERT_EQ(kill(*killed, SIGKILL), 0);
  EXPECT_EQ(Describe(WaitFor(*killed)), "signal 9 (Killed)");
}

TEST(Process, AProgramThatIsNotThereIsAnError) {
  const auto pid = StartProcess({.argv = {"/no/such/program"}});
  EXPECT_EQ(pid.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(pid.status().message(), "cannot start /no/such/program: No such file or directory");
}

}  // namespace
}  // namespace polymoe
