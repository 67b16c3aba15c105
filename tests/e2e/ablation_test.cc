// One command from a cluster to an answer, and an answer that no accident changes: real processes, really killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/training_job.h"

namespace polymoe {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kStudy[] = R"(apiVersion: polymoe/v1
kind: Ablation
metadata: {name: tiny-study}
spec:
  match: parameters
  baseline: swiglu
  arms:
  - {name: swiglu, set: {model.activation.kind: swiglu}}
  - {name: polynorm, set: {model.activation.kind: polynorm}}
  seeds: [1, 2]
  budget: {parallelSlots: 2}
)";

class AblationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartServer();
    job_file_ = WriteJob(cluster_.dir(), 200);
    study_file_ = cluster_.dir() + "/study.yaml";
    ASSERT_TRUE(WriteFileDurably(study_file_, kStudy).ok());
  }

  std::string Submit() {
    const Output submitted = cluster_.Polyctl({"ablation", "submit", study_file_, "--base", job_file_});
    EXPECT_EQ(submitted.exit_code, 0) << submitted.err;
    return std::string(absl::StripAsciiWhitespace(submitted.out));
  }

  json Get(const std::string& id) {
    const Output output = cluster_.Polyctl({"ablation", "get", id, "-o", "json"});
    EXPECT_EQ(output.exit_code, 0) << output.err << cluster_.LogTail("server");
    return json::parse(output.out);
  }

  uint64_t Tokens(const std::string& id) { return std::stoull(Get(id)["progress"].value("tokens", "0")); }

  void ExpectSucceeds(const std::string& id) {
    ASSERT_TRUE(WaitUntil([&] { return Get(id)["state"] == "ABLATION_STATE_SUCCEEDED"; }))
        << cluster_.Polyctl({"ablation", "get", id}).out << cluster_.LogTail("server");
  }

  // What CompareAblation says, without what differs between two ablations of the same file.
  json Figures(const std::string& id) {
    const Output output = cluster_.Polyctl({"compare", id, "-o", "json"});
    EXPECT_EQ(output.exit_code, 0) << output.err;
    return json::parse(output.out)["curves"];
  }

  Cluster cluster_;
  std::string job_file_, study_file_;
};

TEST_F(AblationTest, FromOneCommandToAReport) {
  cluster_.StartWorker("w1", 2);
  const std::string id = Submit();
  const Output watched = cluster_.Polyctl({"ablation", "watch", id});
  EXPECT_EQ(watched.exit_code, 0) << watched.err;
  EXPECT_THAT(watched.out, HasSubstr("succeeded"));
  EXPECT_THAT(cluster_.Polyctl({"ablation", "ls"}).out, HasSubstr("100%"));
  const Output compared = cluster_.Polyctl({"compare", id});
  EXPECT_EQ(compared.exit_code, 0) << compared.err;
  EXPECT_THAT(compared.out, HasSubstr("val_loss"));
  const std::string report = cluster_.dir() + "/report";
  const Output reported = cluster_.Polyctl({"report", id, "--out", report});
  EXPECT_EQ(reported.exit_code, 0) << reported.err;
  EXPECT_THAT(*ReadFile(report + "/index.html"), HasSubstr("<svg"));
  EXPECT_THAT(*ReadFile(report + "/points.csv"), HasSubstr("val_loss/near"));
  const std::string metrics = cluster_.Scrape();
  EXPECT_THAT(metrics, HasSubstr("polymoe_curve_loss{"));
  EXPECT_THAT(metrics, HasSubstr(absl::StrCat("polymoe_ablation_progress_ratio{ablation=\"", id, "\"} 1")));
}

TEST_F(AblationTest, ACoordinatorThatIsKilledInTheMiddleChangesNothing) {
  cluster_.StartWorker("w1", 2);
  const std::string undisturbed = Submit();
  ExpectSucceeds(undisturbed);
  const std::string killed = Submit();
  for (const uint64_t tokens : {20'000, 60'000, 120'000}) {
    ASSERT_TRUE(WaitUntil([&] { return Tokens(killed) >= tokens; }));
    cluster_.Kill("server");
    cluster_.StartServer();
  }
  ExpectSucceeds(killed);
  EXPECT_EQ(Get(killed)["runs"].size(), 4u);
  EXPECT_EQ(Figures(killed), Figures(undisturbed));
}

TEST_F(AblationTest, PausedAndResumedItEndsInTheSameBits) {
  cluster_.StartWorker("w1", 2);
  const std::string undisturbed = Submit();
  ExpectSucceeds(undisturbed);
  const std::string paused = Submit();
  ASSERT_TRUE(WaitUntil([&] { return Tokens(paused) >= 20'000; }));
  EXPECT_EQ(cluster_.Polyctl({"ablation", "pause", paused}).exit_code, 0);
  ASSERT_TRUE(WaitUntil([&] { return cluster_.Trainers().empty(); })) << "its slots are free";
  EXPECT_EQ(Get(paused)["state"], "ABLATION_STATE_PAUSED");
  EXPECT_EQ(cluster_.Polyctl({"ablation", "resume", paused}).exit_code, 0);
  ExpectSucceeds(paused);
  EXPECT_EQ(Figures(paused), Figures(undisturbed));
}

TEST_F(AblationTest, AnArmThatComesLaterJoinsTheComparison) {
  cluster_.StartWorker("w1", 2);
  const std::string id = Submit();
  ExpectSucceeds(id);
  const Output added = cluster_.Polyctl({"ablation", "add-arm", id, "relu", "--set", "model.activation.kind=relu"});
  EXPECT_EQ(added.exit_code, 0) << added.err;
  ExpectSucceeds(id);
  EXPECT_EQ(Get(id)["runs"].size(), 6u);
  const json curves = Figures(id);
  int of_relu = 0;
  for (const json& curve : curves) of_relu += curve["arm"] == "relu" && curve["points"].back()["n"] == 2;
  EXPECT_EQ(of_relu, 5) << "val_loss and val_bpb, as a mean and of the set near, and loss";
}

}  // namespace
}  // namespace polymoe
