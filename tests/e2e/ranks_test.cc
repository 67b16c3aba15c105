// Jobs of several ranks on a real coordinator and real daemons, with trainers that do as they are told (fake_trainer.cc).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/file.h"
#include "tests/e2e/cluster.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

class RanksTest : public ::testing::Test {
 protected:
  void SetUp() override { cluster_.StartServer(); }
  void StartWorker(const std::string& name) { cluster_.StartWorker(name, 1, {"--trainer", BuiltProgram("../tests/fake_trainer")}); }

  std::string Submit(const std::string& resources, const std::string& script) {
    const std::string path = cluster_.dir() + "/ranks.yaml";
    EXPECT_TRUE(WriteFileDurably(
                    path, absl::StrCat("apiVersion: polymoe/v1\nkind: Job\nmetadata: {name: ranks, labels: {script: \"", script,
                                       "\"}}\nspec:\n  model: {layers: 2, hidden: 64, heads: 2, ffn: 96, experts: 4, "
                                       "topK: 2, vocab: 257, activation: {kind: polynorm}}\n"
                                       "  data: {train: /data, sequenceLength: 32}\n"
                                       "  train: {tokens: 1M}\n  resources: {",
                                       resources, "}\n"))
                    .ok());
    const Output submitted = cluster_.Polyctl({"submit", path});
    EXPECT_EQ(submitted.exit_code, 0) << submitted.err;
    return std::string(absl::StripAsciiWhitespace(submitted.out));
  }
  std::string Gate(const std::string& name) const { return absl::StrCat(cluster_.dir(), "/", name); }
  void Open(const std::string& name) { ASSERT_TRUE(WriteFileDurably(Gate(name), "").ok()); }

  Cluster cluster_{absl::Minutes(1)};  // no lease runs out here
};

TEST_F(RanksTest, AnElasticJobGrowsAtACheckpoint) {
  StartWorker("w1");
  const std::string job =
      Submit("ranks: 2, minRanks: 1", absl::StrCat("started 0; await ", Gate("save"), "; checkpoint 5 /c/step-5; wait"));
  ASSERT_TRUE(cluster_.WaitForState(job, "RUNNING")) << cluster_.LogTail("server");
  EXPECT_THAT(cluster_.Polyctl({"get", job}).out, HasSubstr("Ranks       1 of 1-2\n"));
  StartWorker("w2");
  ASSERT_TRUE(WaitUntil([&] { return cluster_.Polyctl({"workers", "ls"}).out.find("w2") != std::string::npos; }));
  Open("save");
  ASSERT_TRUE(WaitUntil([&] { return cluster_.JobField(job, "/attempts/0/endReason") == "END_REASON_RESIZED"; }));
  ASSERT_TRUE(WaitUntil([&] { return cluster_.JobField(job, "/attempts/1/placements/1/worker") == "w2"; }));
  EXPECT_EQ(cluster_.JobField(job, "/failures") + cluster_.JobField(job, "/workerLosses"), "00");
}

TEST_F(RanksTest, ADeadDaemonIsNotWaitedForWhenAPeerHasNoticed) {
  StartWorker("w1");
  StartWorker("w2");
  const std::string job = Submit("ranks: 2", absl::StrCat("started 0; await ", Gate("notice"), "; exit 4"));
  ASSERT_TRUE(cluster_.WaitForState(job, "RUNNING")) << cluster_.LogTail("server");
  StartWorker("w3");
  ASSERT_TRUE(WaitUntil([&] { return cluster_.Polyctl({"workers", "ls"}).out.find("w3") != std::string::npos; }));
  cluster_.Kill("w2");
  Open("notice");
  ASSERT_TRUE(WaitUntil([&] { return !cluster_.JobField(job, "/attempts/1/number").empty(); })) << cluster_.LogTail("server");
  EXPECT_EQ(cluster_.JobField(job, "/attempts/0/endReason"), "END_REASON_WORKER_LOST");
  EXPECT_EQ(cluster_.JobField(job, "/attempts/1/placements/1/worker"), "w3");
}

TEST_F(RanksTest, LogsOfAllRanks) {
  StartWorker("w1");
  StartWorker("w2");
  const std::string job = Submit("ranks: 2", absl::StrCat("started 0; print hello; await ", Gate("end")));
  const auto logs = [&] { return cluster_.Polyctl({"logs", job, "--rank", "all"}).out; };
  EXPECT_TRUE(WaitUntil([&] {
    return logs().find("[0] hello\n") != std::string::npos && logs().find("[1] hello\n") != std::string::npos;
  })) << logs();
  Open("end");
  EXPECT_TRUE(cluster_.WaitForState(job, "SUCCEEDED")) << cluster_.LogTail("server");
}

// A forwarder that stops passing anything on: neither side's kernel notices. It takes no new connection either: a worker that came back
// by one would have its old session replaced, not lost.
TEST_F(RanksTest, BothSidesNoticeAConnectionThatIsDeadWithoutAnEnd) {
  const std::string port = cluster_.server_address().substr(sizeof("127.0.0.1"));
  const auto forwarder =
      StartProcess({.argv = {BuiltProgram("../tests/forward"), "127.0.0.2", "127.0.0.1", port, Gate("forwards")}});
  ASSERT_TRUE(forwarder.ok()) << forwarder.status();
  ASSERT_TRUE(WaitUntil([&] { return PathExists(Gate("forwards")); }));
  cluster_.StartWorker("w1", 1, {"--server", "127.0.0.2:" + port});
  const auto logs = [&](const std::string& program, const std::string& line) {
    return WaitUntil([&] { return cluster_.LogTail(program).find(line) != std::string::npos; },
                     absl::Seconds(50));  // of a minute's lease
  };
  ASSERT_TRUE(logs("w1", "registered with the coordinator"));
  ASSERT_EQ(kill(*forwarder, SIGSTOP), 0);
  const std::string carriers = *ReadFile(absl::StrCat("/proc/", *forwarder, "/task/", *forwarder, "/children"));
  for (const auto pid : absl::StrSplit(carriers, ' ', absl::SkipWhitespace()))
    ASSERT_EQ(kill(std::stoi(std::string(pid)), SIGSTOP), 0);
  EXPECT_TRUE(logs("server", "worker disconnected")) << cluster_.LogTail("server");
  EXPECT_TRUE(logs("w1", "connection to the coordinator lost")) << cluster_.LogTail("w1");
  kill(*forwarder, SIGKILL);  // its carriers die with it
  Reap(*forwarder);
}

}  // namespace
}  // namespace polymoe
