// The commands about ablations against a coordinator in memory: what goes to stdout, what is asked of the coordinator, exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/polyctl/fake_server.h"
#include "tests/polyctl/sample_ablation.h"
#include "tests/polyctl/test_console.h"

namespace polymoe::polyctl {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kId[] = "activations-4d5e6f7g";

class AblationCommandsTest : public ::testing::Test {
 protected:
  AblationCommandsTest() {
    server_.ablations.get = [this](const v1::GetAblationRequest& request, v1::Ablation* ablation) {
      return Find(request.ablation(), ablation);
    };
    server_.ablations.list = [this](const v1::ListAblationsRequest& request, v1::ListAblationsResponse* response) {
      listed_ = request;
      for (const v1::Ablation& ablation : ablations_) *response->add_ablations() = ablation;
      return grpc::Status::OK;
    };
    server_.ablations.watch = [this](const v1::WatchAblationRequest& request, auto*, auto* writer) {
      v1::WatchAblationResponse response;
      if (grpc::Status status = Find(request.ablation(), response.mutable_ablation()); !status.ok()) return status;
      for (const auto& [id, job] : SampleAblationJobs(kNowMs, response.ablation().state() == v1::ABLATION_STATE_SUCCEEDED)) {
        *response.add_jobs() = job;
      }
      writer->Write(response);
      return grpc::Status::OK;
    };
    server_.ablations.submit = [this](const v1::SubmitAblationRequest& request, v1::SubmitAblationResponse* response) {
      submitted_ = request;
      *response->mutable_ablation() = ablations_.at(0);
      return grpc::Status::OK;
    };
    server_.metrics.compare_ablation = [this](const v1::CompareAblationRequest& request, v1::AblationComparison* comparison) {
      compared_ = request;
      v1::Ablation ablation;
      if (grpc::Status status = Find(request.ablation(), &ablation); !status.ok()) return status;
      *comparison = SampleComparison();
      return grpc::Status::OK;
    };
    server_.jobs.get = [](const v1::GetJobRequest& request, v1::Job* job) {
      const auto jobs = SampleAblationJobs(kNowMs, true);
      const auto it = jobs.find(request.job());
      if (it == jobs.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, absl::StrCat("there is no job '", request.job(), "'"));
      *job = it->second;
      return grpc::Status::OK;
    };
    ablations_ = {SampleAblation(kNowMs, true)};
    EXPECT_TRUE(WriteFileDurably(file_, kAblationFile).ok());
  }

  grpc::Status Find(const std::string& name, v1::Ablation* found) {
    for (const v1::Ablation& ablation : ablations_) {
      if (name == ablation.id() || name == ablation.file().metadata().name()) *found = ablation;
    }
    return found->id().empty() ? grpc::Status(grpc::StatusCode::NOT_FOUND, absl::StrCat("there is no ablation '", name, "'"))
                               : grpc::Status::OK;
  }
  int Run(std::vector<std::string> args) {
    args.insert(args.end(), {"--server", server_.address()});
    return console_.Run(args, {.call_timeout = absl::Seconds(30), .patience = absl::ZeroDuration()});
  }
  std::string Out() { return console_.out.str(); }
  std::string Err() { return console_.err.str(); }

  TempDir dir_;
  const std::string file_ = dir_.path() + "/study.yaml";
  std::vector<v1::Ablation> ablations_;
  v1::ListAblationsRequest listed_;
  v1::SubmitAblationRequest submitted_;
  v1::CompareAblationRequest compared_;
  FakeServer server_;
  TestConsole console_;
};

TEST_F(AblationCommandsTest, SubmitPrintsTheIdAloneOnStdout) {
  EXPECT_EQ(Run({"ablation", "submit", file_, "--set", "spec.budget.tokens=8M"}), 0);
  EXPECT_EQ(Out(), absl::StrCat(kId, "\n"));
  EXPECT_THAT(Err(), AllOf(HasSubstr("with 18 runs"), HasSubstr("polyctl ablation watch ")));
  EXPECT_EQ(submitted_.file().spec().budget().tokens(), 8'000'000u);
  EXPECT_EQ(submitted_.request_id().size(), 36u);
  EXPECT_EQ(Run({"ablation", "submit", file_, "-o", "json", "--request-id", "mine"}), 0);
  EXPECT_EQ(nlohmann::json::parse(Out())["id"], kId);
  EXPECT_EQ(submitted_.request_id(), "mine");
  server_.ablations.submit = [](auto&, auto*) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting"); };
  EXPECT_EQ(Run({"ablation", "submit", file_, "--request-id", "mine"}), 6);
  EXPECT_THAT(Err(), AllOf(HasSubstr("--request-id mine"), HasSubstr("two ablations")));
}

TEST_F(AblationCommandsTest, DryRunAsksNobody) {
  server_.Stop();
  EXPECT_EQ(Run({"ablation", "submit", file_, "--dry-run", "--set", "spec.match=parameters"}), 0);
  EXPECT_THAT(Out(), AllOf(HasSubstr("relu (baseline)"), HasSubstr("activation.kind=polynorm"),
                           HasSubstr("6 arms x 3 seeds = 18 runs of 4M tokens: 72M tokens")));
}

TEST_F(AblationCommandsTest, AFileOfTheOtherKindSaysWhichCommandTakesIt) {
  EXPECT_EQ(Run({"submit", file_}), 2);
  EXPECT_THAT(Err(), HasSubstr("its kind is Ablation; use `polyctl ablation submit`"));
  const std::string job = dir_.path() + "/job.yaml";
  ASSERT_TRUE(WriteFileDurably(job, kJobFile).ok());
  EXPECT_EQ(Run({"ablation", "submit", job}), 2);
  EXPECT_THAT(Err(), HasSubstr("its kind is Job; use `polyctl submit`"));
}

TEST_F(AblationCommandsTest, ExplainKnowsBothFiles) {
  EXPECT_EQ(console_.Run({"explain", "--kind", "ablation", "spec.stop"}), 0);
  EXPECT_THAT(Out(), AllOf(HasSubstr("spec.stop.hopelessNats"), Not(HasSubstr("spec.budget"))));
  EXPECT_EQ(console_.Run({"explain", "--kind", "ablation"}), 0);
  EXPECT_THAT(Out(), Not(HasSubstr("spec.base.model")));
  EXPECT_EQ(console_.Run({"explain", "spec.stop"}), 3);
  EXPECT_THAT(Err(), HasSubstr("no field of the job file"));
}

TEST_F(AblationCommandsTest, LsInEveryForm) {
  EXPECT_EQ(Run({"ablation", "ls", "--state", "active", "--state", "succeeded"}), 0);
  EXPECT_THAT(Out(), HasSubstr("activations-4d5e6f7g  succeeded     6      3       18/18"));
  EXPECT_THAT(listed_.states(), ElementsAre(v1::ABLATION_STATE_ACTIVE, v1::ABLATION_STATE_SUCCEEDED));
  EXPECT_EQ(Run({"ablation", "ls", "-o", "name"}), 0);
  EXPECT_EQ(Out(), absl::StrCat(kId, "\n"));
  EXPECT_EQ(Run({"ablation", "ls", "--state", "actve"}), 2);
  ablations_.clear();
  EXPECT_EQ(Run({"ablation", "ls", "-o", "json"}), 0);
  EXPECT_EQ(Out(), "[]\n");
  EXPECT_EQ(Run({"ablation", "ls"}), 0);
  EXPECT_EQ(Out(), "");
  EXPECT_THAT(Err(), StartsWith("No ablations."));
}

TEST_F(AblationCommandsTest, Get) {
  ablations_ = {SampleAblation(kNowMs, false)};
  EXPECT_EQ(Run({"ablation", "get", "activations"}), 0);
  EXPECT_THAT(Out(), AllOf(HasSubstr("SEED 3"), HasSubstr("running 45%"), HasSubstr("held"), HasSubstr("slots busy")));
  EXPECT_EQ(Run({"ablation", "get", "activations", "-o", "yaml"}), 0);
  EXPECT_THAT(Out(), StartsWith("id: activations-4d5e6f7g\n"));
  EXPECT_EQ(Run({"ablation", "get", "nope"}), 3);
  EXPECT_EQ(Err(), "polyctl: there is no ablation 'nope'\n");
}

TEST_F(AblationCommandsTest, WatchEndsAsTheAblationDoes) {
  EXPECT_EQ(Run({"ablation", "watch", "activations"}), 0);
  EXPECT_THAT(Out(), StartsWith("activations-4d5e6f7g  succeeded  100%  72M/72M tokens, 18/18 runs ended"));
  EXPECT_THAT(Out(), Not(HasSubstr("\033")));
  ablations_[0].set_state(v1::ABLATION_STATE_FAILED);
  EXPECT_EQ(Run({"ablation", "watch", "activations"}), 8);
  ablations_[0].set_state(v1::ABLATION_STATE_CANCELLED);
  EXPECT_EQ(Run({"ablation", "submit", file_, "--watch"}), 9);
}

TEST_F(AblationCommandsTest, WatchOnATerminalDrawsTheArms) {
  console_.console.out_is_terminal = true;
  console_.console.width = 100;
  console_.console.height = 24;
  EXPECT_EQ(Run({"ablation", "watch", "activations"}), 0);
  EXPECT_THAT(Out(), AllOf(HasSubstr("polynorm  ✓✓✓"), HasSubstr("better"), HasSubstr("\033[K\n")));
  EXPECT_EQ(compared_.ablation(), kId);
  EXPECT_EQ(Run({"ablation", "watch", "activations", "--once"}), 0);
  EXPECT_THAT(Out(), AllOf(HasSubstr("polynorm  ✓✓✓"), Not(HasSubstr("\033"))));
  ablations_ = {SampleAblation(kNowMs, false)};
  EXPECT_EQ(Run({"ablation", "watch", "activations"}), 6) << "the coordinator of this test leaves, the ablation is not final";
}

TEST_F(AblationCommandsTest, PauseResumeCancelAndOneMoreArm) {
  std::vector<std::string> asked;
  server_.ablations.pause = [&](const v1::PauseAblationRequest& request, v1::Ablation* ablation) {
    asked.push_back("pause " + request.ablation());
    *ablation = SampleAblation(kNowMs, false);
    return grpc::Status::OK;
  };
  server_.ablations.resume = [&](const v1::ResumeAblationRequest& request, v1::Ablation* ablation) {
    asked.push_back("resume " + request.ablation());
    *ablation = SampleAblation(kNowMs, false);
    return grpc::Status::OK;
  };
  server_.ablations.cancel = [&](const v1::CancelAblationRequest& request, v1::Ablation* ablation) {
    asked.push_back("cancel " + request.ablation());
    *ablation = SampleAblation(kNowMs, true);
    return grpc::Status::OK;
  };
  v1::Arm arm;
  server_.ablations.add_arm = [&](const v1::AddArmRequest& request, v1::Ablation* ablation) {
    arm = request.arm();
    *ablation = SampleAblation(kNowMs, false);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"ablation", "pause", "activations"}), 0);
  EXPECT_EQ(Out(), absl::StrCat(kId, "\n"));
  EXPECT_EQ(Err(), absl::StrCat(kId, ": being paused\n"));
  EXPECT_EQ(Run({"ablation", "resume", "activations"}), 0);
  EXPECT_EQ(Run({"ablation", "cancel", "activations"}), 0);
  EXPECT_EQ(Err(), absl::StrCat(kId, ": succeeded\n")) << "it was over";
  EXPECT_THAT(asked, ElementsAre("pause activations", "resume activations", "cancel activations"));
  EXPECT_EQ(Run({"ablation", "add-arm", "activations", "silu", "--set", "model.activation.kind=gelu", "--set", "model.ffn=64"}), 0);
  EXPECT_EQ(arm.name(), "silu");
  EXPECT_EQ(arm.set().at("model.ffn"), "64");
  EXPECT_EQ(Run({"ablation", "add-arm", "activations", "silu", "--set", "model.ffn"}), 2);
}

TEST_F(AblationCommandsTest, CompareTakesAnAblationByItsName) {
  EXPECT_EQ(Run({"compare", "activations"}), 0);
  EXPECT_THAT(Out(), AllOf(StartsWith("activations: val_loss at 4M tokens, against relu\n"), HasSubstr("no difference seen"),
                           HasSubstr("relu (baseline, dashed)"), HasSubstr("model.activation.kind")));
  EXPECT_EQ(compared_.grid(), 100u);
  EXPECT_EQ(Run({"compare", "activations", "--delta", "--metric", "val_loss/code", "--grid", "20"}), 0);
  EXPECT_THAT(Out(), HasSubstr("val_loss/code, difference to relu over training tokens\n"));
  EXPECT_EQ(compared_.grid(), 20u);
  EXPECT_EQ(Run({"compare", "activations", "-o", "json"}), 0);
  EXPECT_TRUE(compared_.runs());
  EXPECT_EQ(nlohmann::json::parse(Out())["baseline"], "relu");
  EXPECT_EQ(Run({"compare", "activations", "--metric", "val_los"}), 2);
  EXPECT_THAT(Err(), HasSubstr("this comparison has val_loss, loss, val_loss/code"));
  EXPECT_EQ(Run({"compare", "nope"}), 3);
  EXPECT_EQ(Err(), "polyctl: there is no ablation and no job 'nope'\n");
}

TEST_F(AblationCommandsTest, ReportWritesAllOfItOrLeavesOtherFoldersAlone) {
  const std::string folder = dir_.path() + "/deep/report";
  EXPECT_EQ(Run({"report", "activations", "--out", folder}), 0);
  EXPECT_EQ(Out(), folder + "/index.html\n");
  EXPECT_THAT(Err(), StartsWith("Better than relu: swiglu, polynorm. Worse than relu: polyrelu."));
  EXPECT_THAT(*ListDirectory(folder), ElementsAre("index.html", "points.csv", "report.md", "summary.csv"));
  EXPECT_TRUE(compared_.runs());
  EXPECT_EQ(Run({"report", "activations", "--out", folder}), 0) << "an older report is replaced";
  const std::string other = dir_.path() + "/other";
  ASSERT_TRUE(MakeDirectories(other).ok());
  EXPECT_EQ(Run({"report", "activations", "--out", other}), 0) << "an empty folder";
  ASSERT_TRUE(WriteFileDurably(other + "/index.html", "<p>my thesis</p>").ok());
  EXPECT_EQ(Run({"report", "activations", "--out", other}), 5);
  EXPECT_THAT(Err(), HasSubstr("has other files than a report"));
  EXPECT_EQ(*ReadFile(other + "/index.html"), "<p>my thesis</p>");
}

class ExportTest : public AblationCommandsTest {
 protected:
  ExportTest() {
    server_.metrics.query = [this](const v1::QueryRequest& request, v1::QueryResponse* response) {
      if (request.max_points() == 1) {
        for (const char* name : {"loss", "val_loss/code"}) response->add_series()->set_name(name);
        return grpc::Status::OK;
      }
      windows_.push_back({request.from(), request.to()});
      EXPECT_EQ(request.axis(), v1::AXIS_STEP);
      v1::Series& series = *response->add_series();
      for (uint64_t step = 1; step <= last_step_; step += 15'000) {
        if (static_cast<double>(step) < request.from() || static_cast<double>(step) > request.to()) continue;
        v1::SeriesPoint& point = *series.add_points();
        point.set_step(step);
        point.set_tokens(step * 512);
        point.set_time_ms(kNowMs + 5);
        point.set_value(request.names(0) == "loss" ? 2.5 : std::numeric_limits<double>::quiet_NaN());
      }
      return grpc::Status::OK;
    };
  }

  uint64_t last_step_ = 8000;
  std::vector<std::pair<double, double>> windows_;
};

TEST_F(ExportTest, AllRunsOfAnAblation) {
  EXPECT_EQ(Run({"export", "activations"}), 0);
  const std::string text = Out();
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  EXPECT_EQ(lines.size(), 1u + 18 * 2);
  EXPECT_EQ(lines[0], "run,arm,seed,step,tokens,time,metric,value");
  EXPECT_EQ(lines[1], "activations-relu-s1-0a1b2c3d,relu,1,1,512,2026-03-01T12:00:00.005Z,loss,2.5");
  EXPECT_EQ(lines[2], "activations-relu-s1-0a1b2c3d,relu,1,1,512,2026-03-01T12:00:00.005Z,val_loss/code,") << "not finite: empty";
}

TEST_F(ExportTest, AJobAsJsonLinesIntoAFile) {
  const std::string out = dir_.path() + "/points.jsonl";
  EXPECT_EQ(Run({"export", "activations-gelu-s2-0a1b2c3d", "--metric", "val_loss/code", "--format", "jsonl", "--out", out}), 0);
  EXPECT_EQ(Out(), "");
  const auto json = nlohmann::json::parse(*ReadFile(out));
  EXPECT_EQ(json["arm"], "gelu");
  EXPECT_EQ(json["seed"], 2);
  EXPECT_TRUE(json["value"].is_null());
  EXPECT_EQ(Run({"export", "activations", "nope", "--out", dir_.path() + "/none.csv"}), 3);
  EXPECT_FALSE(PathExists(dir_.path() + "/none.csv")) << "all or nothing";
  EXPECT_FALSE(PathExists(dir_.path() + "/none.csv.tmp"));
}

TEST_F(ExportTest, LongRunsComeInPartsWithoutGapOrOverlap) {
  last_step_ = 50'000;
  server_.jobs.get = [this](const v1::GetJobRequest& request, v1::Job* job) {
    *job = SampleJob(request.job(), v1::JOB_STATE_RUNNING, kNowMs);
    job->mutable_progress()->set_step(last_step_);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"export", "long", "--metric", "loss"}), 0);
  const std::string text = Out();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 4);
  ASSERT_EQ(windows_.size(), 3u);
  for (size_t i = 1; i < windows_.size(); ++i) EXPECT_EQ(windows_[i].first, windows_[i - 1].second + 1);
}

}  // namespace
}  // namespace polymoe::polyctl
