// The whole service, with real processes that are really killed.
#include "tests/e2e/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "tests/e2e/training_job.h"

namespace polymoe {
namespace {

using nlohmann::json;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// Names polymoe_... that follow `mark` in a text.
std::set<std::string> FamiliesIn(const std::string& text, const std::string& mark) {
  std::set<std::string> names;
  const std::string start = mark + "polymoe_";
  for (size_t at = text.find(start); at != std::string::npos; at = text.find(start, at + 1)) {
    const size_t begin = at + mark.size();
    names.insert(text.substr(begin, text.find_first_of("` \n", begin) - begin));
  }
  return names;
}

class ClusterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartServer();
    job_file_ = WriteJob(cluster_.dir());
  }

  std::string Submit(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"submit", job_file_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Output submitted = cluster_.Polyctl(arguments);
    EXPECT_EQ(submitted.exit_code, 0) << submitted.err;
    return std::string(absl::StripAsciiWhitespace(submitted.out));
  }

  int Step(const std::string& job) {
    int step = 0;
    static_cast<void>(absl::SimpleAtoi(cluster_.JobField(job, "/progress/step"), &step));
    return step;
  }

  int CheckpointStep(const std::string& job) {
    int step = 0;
    static_cast<void>(absl::SimpleAtoi(cluster_.JobField(job, "/checkpoint/step"), &step));
    return step;
  }

  void ExpectSucceeds(const std::string& job) {
    ASSERT_TRUE(cluster_.WaitForState(job, "SUCCEEDED")) << cluster_.Polyctl({"get", job}).out << cluster_.LogTail("server");
  }

  // The loss of every step of two jobs, the same to the last bit, none missing.
  void ExpectSameTrace(const std::string& a, const std::string& b) {
    const Output compared = cluster_.Polyctl({"compare", a, b, "--metric", "loss", "--grid", absl::StrCat(kSteps), "-o", "json"});
    ASSERT_EQ(compared.exit_code, 0) << compared.err;
    const json rows = json::parse(compared.out).at("rows");
    ASSERT_EQ(rows.size(), 2u);
    ASSERT_EQ(rows[0].at("cells").size(), static_cast<size_t>(kSteps));
    for (int i = 0; i < kSteps; ++i) {
      ASSERT_TRUE(rows[0]["cells"][i].at("present") && rows[1]["cells"][i].at("present")) << "step " << i + 1 << " is missing";
      ASSERT_EQ(rows[0]["cells"][i].at("value"), rows[1]["cells"][i].at("value")) << "step " << i + 1;
    }
  }

  // By promtool, which comes with Prometheus.
  void ExpectLinted(const std::string& metrics) {
    ASSERT_TRUE(WriteFileDurably(cluster_.dir() + "/metrics.txt", metrics).ok());
    const Output lint = RunProgram({"/bin/sh", "-c", absl::StrCat("promtool check metrics < ", cluster_.dir(), "/metrics.txt")});
    EXPECT_EQ(lint.exit_code, 0);
    EXPECT_EQ(lint.out + lint.err, "");
  }

  Cluster cluster_;
  std::string job_file_;
};

TEST_F(ClusterTest, TrainsAndShowsIt) {
  cluster_.StartWorker("w1");
  const std::string job = Submit();
  const Output waited = cluster_.Polyctl({"wait", job, "--timeout", "2m"});
  EXPECT_EQ(waited.exit_code, 0) << waited.err << cluster_.Polyctl({"get", job}).out;
  EXPECT_THAT(cluster_.Polyctl({"ls"}).out, HasSubstr("succeeded"));
  EXPECT_THAT(cluster_.Polyctl({"logs", job}).out, HasSubstr("tiny: done, 400 steps"));
  EXPECT_THAT(cluster_.Polyctl({"watch", job}).out, HasSubstr("succeeded"));
  EXPECT_THAT(cluster_.Polyctl({"workers", "ls"}).out, HasSubstr("connected"));
  EXPECT_THAT(cluster_.Polyctl({"compare", job}).out, HasSubstr("Who converged best"));
  // It learned: uniform over 257 ids would be 5.5 nats, and the text has nine words.
  double loss = 9;
  ASSERT_TRUE(absl::SimpleAtod(cluster_.JobField(job, "/progress/validationLoss/near"), &loss));
  EXPECT_LT(loss, 1.5);
  const std::string metrics = cluster_.Scrape();
  EXPECT_THAT(metrics, HasSubstr(absl::StrCat("polymoe_val_loss{run=\"", job, "\",set=\"near\"}")));
  EXPECT_THAT(metrics, HasSubstr(absl::StrCat("polymoe_polycom_coefficient{layer=\"1\",run=\"", job, "\",term=\"w3\"}")));
  EXPECT_THAT(metrics, HasSubstr("polymoe_rpc_duration_seconds_bucket{"));
  EXPECT_THAT(metrics, HasSubstr(absl::StrCat("split=\"val\",domain=\"near\",tokens=\"", kSteps * kTokensPerStep, "\"} ")));
  ExpectLinted(metrics);
  const std::string of_worker = cluster_.Scrape("w1");
  EXPECT_THAT(of_worker, HasSubstr("polymoe_worker_trainer_exits_total{kind=\"ok\"} 1"));
  ExpectLinted(of_worker);
  // docs/metrics.md and the scrapes name the same families. Not every job has all: those of ranks are of jobs of several; analyses,
  // loads of single experts and ablations are for who asks for them.
  std::set<std::string> families = FamiliesIn(metrics + of_worker, "# TYPE ");
  families.insert({"polymoe_rank_step_seconds", "polymoe_rank_wait_seconds", "polymoe_straggler_ratio", "polymoe_effective_rank",
                   "polymoe_layer_cosine", "polymoe_activation_mean", "polymoe_activation_std", "polymoe_activation_abs_max",
                   "polymoe_activation_zero_ratio", "polymoe_expert_load", "polymoe_ablation_info", "polymoe_ablation_state",
                   "polymoe_ablation_runs", "polymoe_ablation_progress_ratio"});
  EXPECT_THAT(FamiliesIn(*ReadFile(POLYMOE_SOURCE_DIR "/docs/metrics.md"), "`"), ElementsAreArray(families));
}

TEST_F(ClusterTest, TheSameRequestTwiceIsOneJob) {
  const std::string first = Submit({"--request-id", "r1"});
  EXPECT_EQ(Submit({"--request-id", "r1"}), first);
  EXPECT_EQ(cluster_.Polyctl({"submit", job_file_, "--request-id", "r1", "--set", "spec.train.seed=2"}).exit_code, 5);
  EXPECT_EQ(json::parse(cluster_.Polyctl({"ls", "-o", "json"}).out).size(), 1u);
}

TEST_F(ClusterTest, AKilledTrainerResumesToTheSameBits) {
  cluster_.StartWorker("w1");
  const std::string undisturbed = Submit();
  ExpectSucceeds(undisturbed);
  const std::string job = Submit();
  // A checkpoint is written beside the steps behind it: wait until it is there.
  ASSERT_TRUE(WaitUntil([&] { return CheckpointStep(job) >= 80; }));
  for (const pid_t trainer : cluster_.Trainers()) ASSERT_EQ(kill(trainer, SIGKILL), 0);
  ExpectSucceeds(job);
  EXPECT_EQ(cluster_.JobField(job, "/attempts/0/exit/signal"), "9");
  EXPECT_EQ(cluster_.JobField(job, "/attempts/0/endReason"), "END_REASON_TRAINER_FAILED");
  int start = 0;
  ASSERT_TRUE(absl::SimpleAtoi(cluster_.JobField(job, "/attempts/1/startStep"), &start));
  EXPECT_GE(start, 80) << "it must resume from a checkpoint, not from scratch";
  ExpectSameTrace(undisturbed, job);
}

TEST_F(ClusterTest, TrainingDoesNotNoticeACoordinatorThatIsKilled) {
  cluster_.StartWorker("w1");
  const std::string undisturbed = Submit();
  ExpectSucceeds(undisturbed);
  const std::string job = Submit(), waiting = Submit();
  ASSERT_TRUE(WaitUntil([&] { return Step(job) >= 100; }));
  cluster_.Kill("server");
  EXPECT_EQ(cluster_.Trainers().size(), 1u) << "the trainer goes on alone";
  cluster_.StartServer();
  ExpectSucceeds(job);
  ExpectSucceeds(waiting);
  EXPECT_EQ(cluster_.JobField(job, "/attempts/1"), "") << "the same attempt goes on";
  ExpectSameTrace(undisturbed, job);
}

TEST_F(ClusterTest, AKilledWorkersJobMovesToAnother) {
  cluster_.StartWorker("w1");
  const std::string undisturbed = Submit();
  ExpectSucceeds(undisturbed);
  const std::string job = Submit();
  ASSERT_TRUE(WaitUntil([&] { return Step(job) >= 100; }));
  cluster_.Kill("w1");
  EXPECT_TRUE(WaitUntil([&] { return cluster_.Trainers().empty(); })) << "trainers die with their daemon";
  cluster_.StartWorker("w2");
  ExpectSucceeds(job);
  EXPECT_EQ(cluster_.JobField(job, "/attempts/0/endReason"), "END_REASON_WORKER_LOST");
  EXPECT_EQ(cluster_.JobField(job, "/attempts/1/placements/0/worker"), "w2");
  EXPECT_EQ(cluster_.JobField(job, "/workerLosses"), "1");
  EXPECT_EQ(cluster_.JobField(job, "/failures"), "0");
  ExpectSameTrace(undisturbed, job);
}

TEST_F(ClusterTest, CancelAndDrain) {
  const std::string job = Submit();
  ASSERT_TRUE(WaitUntil([&] { return cluster_.JobField(job, "/waiting/reason") == "WAIT_REASON_NO_WORKERS"; }));
  cluster_.StartWorker("w1");
  ASSERT_TRUE(WaitUntil([&] { return Step(job) >= 20; }));
  // A drained worker saves its ranks and leaves; the job waits and goes on elsewhere from where it was.
  EXPECT_EQ(cluster_.Terminate("w1"), 0);
  ASSERT_TRUE(WaitUntil([&] { return cluster_.JobField(job, "/attempts/0/endReason") == "END_REASON_WORKER_DRAINED"; }));
  cluster_.StartWorker("w2");
  ASSERT_TRUE(WaitUntil([&] { return !cluster_.JobField(job, "/attempts/1/startedRanks/0").empty(); }));
  EXPECT_NE(cluster_.JobField(job, "/attempts/1/startStep"), "0");
  EXPECT_EQ(cluster_.Polyctl({"cancel", job}).exit_code, 0);
  ASSERT_TRUE(cluster_.WaitForState(job, "CANCELLED"));
  EXPECT_EQ(cluster_.Polyctl({"wait", job}).exit_code, 9);
  EXPECT_TRUE(WaitUntil([&] { return cluster_.Trainers().empty(); }));
}

}  // namespace
}  // namespace polymoe
