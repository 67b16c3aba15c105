// Commands against a coordinator in memory: data on stdout and the rest on stderr, exit codes that tell a failed job from a failed tool.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/polyctl/fake_server.h"
#include "tests/polyctl/sample_jobs.h"
#include "tests/polyctl/test_console.h"

namespace polymoe::polyctl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() {
    server_.jobs.get = [this](const v1::GetJobRequest& request, v1::Job* job) {
      for (const v1::Job& known : jobs_) {
        if (known.id() == request.job() || known.file().metadata().name() == request.job()) *job = known;
      }
      return job->id().empty() ? grpc::Status(grpc::StatusCode::NOT_FOUND, absl::StrCat("there is no job '", request.job(), "'"))
                               : grpc::Status::OK;
    };
    server_.jobs.list = [this](const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
      listed_ = request;
      for (auto job = jobs_.rbegin(); job != jobs_.rend(); ++job) *response->add_jobs() = *job;  // newest first
      return grpc::Status::OK;
    };
    server_.jobs.watch = [this](const v1::WatchJobsRequest& request, auto*, auto* writer) {
      for (const v1::Job& job : jobs_) {
        v1::WatchJobsResponse response;
        *response.mutable_job() = job;
        for (const std::string& wanted : request.jobs()) {
          if (wanted == job.id()) writer->Write(response);
        }
      }
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "no more");
    };
    server_.jobs.submit = [this](const v1::SubmitRequest& request, v1::SubmitResponse* response) {
      submitted_ = request;
      *response->mutable_job() = jobs_.at(0);
      return grpc::Status::OK;
    };
    EXPECT_TRUE(WriteFileDurably(file_, kJobFile).ok());
  }

  void Have(std::vector<v1::Job> jobs) { jobs_ = std::move(jobs); }
  void HaveJobsThatEnded(const std::vector<v1::JobState>& states) {
    for (size_t i = 0; i < states.size(); ++i) jobs_.push_back(SampleJob(absl::StrCat("j", i + 1), states[i], kNowMs));
  }
  int Run(std::vector<std::string> args) {
    args.insert(args.end(), {"--server", server_.address()});
    return console_.Run(args, {.call_timeout = absl::Seconds(30), .patience = absl::ZeroDuration()});
  }
  std::string Out() { return console_.out.str(); }
  std::string Err() { return console_.err.str(); }

  TempDir dir_;
  const std::string file_ = dir_.path() + "/job.yaml";
  std::vector<v1::Job> jobs_;  // oldest first
  v1::ListJobsRequest listed_;
  v1::SubmitRequest submitted_;
  FakeServer server_;
  TestConsole console_;
};

TEST_F(CommandsTest, LsInEveryForm) {
  Have({WaitingJob("moe-1", kNowMs), RunningJob("moe-2", kNowMs)});
  EXPECT_EQ(Run({"ls"}), 0);
  EXPECT_THAT(Out(), AllOf(HasSubstr("ID     STATE"), HasSubstr("\nmoe-2  running  "), HasSubstr("\nmoe-1  pending  ")));
  EXPECT_EQ(Err(), "");
  EXPECT_EQ(Run({"ls", "--no-headers"}), 0);
  EXPECT_THAT(Out(), Not(HasSubstr("STATE")));
  EXPECT_EQ(Run({"ls", "-o", "wide"}), 0);
  EXPECT_THAT(Out(), HasSubstr("ACTIVATION"));
  EXPECT_EQ(Run({"ls", "-o", "name"}), 0);
  EXPECT_EQ(Out(), "moe-2\nmoe-1\n");
  EXPECT_EQ(Run({"ls", "-o", "json"}), 0);
  const auto json = nlohmann::json::parse(Out());
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["id"], "moe-2");
  EXPECT_EQ(json[0]["state"], "JOB_STATE_RUNNING");
  EXPECT_EQ(json[0]["progress"]["tokens"], "250000") << "64 bits, as protobuf's JSON has them";
  EXPECT_EQ(json[0]["workerLosses"], 0) << "fields at their default are there";
  EXPECT_EQ(Run({"ls", "-o", "yaml"}), 0);
  const YAML::Node yaml = YAML::Load(Out());
  EXPECT_EQ(yaml[1]["id"].as<std::string>(), "moe-1");
  EXPECT_EQ(yaml[1]["file"]["metadata"]["labels"]["seed"].Tag(), "!") << "a text that looks like a number stays a text";
}

TEST_F(CommandsTest, StructuredOutputIsTheSameEveryTime) {
  v1::Job job = RunningJob("moe-1", kNowMs);
  std::vector<std::string> keys;
  for (int i = 0; i < 20; ++i) {
    (*job.mutable_file()->mutable_metadata()->mutable_labels())[absl::StrCat("label", i)] = "x";
    (*job.mutable_progress()->mutable_validation_loss())[absl::StrCat("set", i)] = i;
  }
  Have({job});
  EXPECT_EQ(Run({"get", "moe-1", "-o", "json"}), 0);
  const std::string once = Out();
  EXPECT_LT(once.find("\"label11\""), once.find("\"label2\"")) << "the keys of a map are in order";
  EXPECT_LT(once.find("\"set11\""), once.find("\"set2\""));
  EXPECT_LT(once.find("\"id\""), once.find("\"file\"")) << "fields are in the order of the schema";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Run({"get", "moe-1", "-o", "json"}), 0);
    EXPECT_EQ(Out(), once);
  }
}

TEST_F(CommandsTest, LsFilters) {
  EXPECT_EQ(Run({"ls", "-l", "study=a", "-l", "seed=1", "--state", "running", "--state", "pending"}), 0);
  EXPECT_EQ(Out(), "");
  EXPECT_EQ(Err(), "No jobs.\n");
  EXPECT_EQ(listed_.labels().at("study"), "a");
  EXPECT_EQ(listed_.labels().at("seed"), "1");
  EXPECT_EQ(listed_.states_size(), 2);
  EXPECT_EQ(Run({"ls", "-o", "json"}), 0);
  EXPECT_EQ(Out(), "[]\n") << "no jobs are a list too";
  EXPECT_EQ(Run({"ls", "-o", "yaml"}), 0);
  EXPECT_EQ(Out(), "[]\n");
}

TEST_F(CommandsTest, Get) {
  Have({RunningJob("moe-1", kNowMs)});
  EXPECT_EQ(Run({"get", "moe"}), 0);
  EXPECT_THAT(Out(), HasSubstr("Job         moe-1\n"));
  EXPECT_EQ(Run({"get", "moe", "-o", "name"}), 0);
  EXPECT_EQ(Out(), "moe-1\n");
  EXPECT_EQ(Run({"get", "nope"}), 3);
  EXPECT_EQ(Out(), "");
  EXPECT_EQ(Err(), "polyctl: there is no job 'nope'\n");
}

TEST_F(CommandsTest, SubmitPrintsTheIdAloneOnStdout) {
  Have({SampleJob("moe-1", v1::JOB_STATE_PENDING, kNowMs)});
  EXPECT_EQ(Run({"submit", file_, "--set", "spec.train.seed=7"}), 0);
  EXPECT_EQ(Out(), "moe-1\n");
  EXPECT_THAT(Err(), AllOf(HasSubstr("polyctl watch moe-1"), HasSubstr("polyctl cancel moe-1")));
  EXPECT_EQ(submitted_.file().spec().train().seed(), 7u);
  const std::string first = submitted_.request_id();
  EXPECT_THAT(first, MatchesRegex("[0-9a-f-]{36}"));
  EXPECT_EQ(Run({"submit", file_, "-o", "json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(Out())["id"], "moe-1");
  EXPECT_NE(submitted_.request_id(), first);
  EXPECT_EQ(Run({"submit", file_, "--request-id", "mine"}), 0);
  EXPECT_EQ(submitted_.request_id(), "mine");
}

TEST_F(CommandsTest, SubmitThatMayHaveHappenedSaysHowToRepeatIt) {
  server_.jobs.submit = [](auto&, auto*) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting"); };
  EXPECT_EQ(Run({"submit", file_, "--request-id", "mine"}), 6);
  EXPECT_THAT(Err(), HasSubstr("--request-id mine"));
  server_.jobs.submit = [](auto&, auto*) { return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "used for job x"); };
  EXPECT_EQ(Run({"submit", file_, "--request-id", "mine"}), 5);
  EXPECT_EQ(Err(), "polyctl: used for job x\n");
}

TEST_F(CommandsTest, WaitTellsHowJobsEnded) {
  HaveJobsThatEnded({v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_CANCELLED, v1::JOB_STATE_FAILED});
  EXPECT_EQ(Run({"wait", "j1"}), 0);
  EXPECT_EQ(Out(), "j1  succeeded\n");
  EXPECT_EQ(Run({"wait", "j1", "j2"}), 9);
  EXPECT_EQ(Run({"wait", "j1", "j2", "j3", "j1"}), 8);
  EXPECT_EQ(Out(), "j1  succeeded\nj2  cancelled\nj3  failed\n") << "each once, in the order given";
  EXPECT_EQ(Run({"wait", "j1", "-o", "json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(Out())[0]["state"], "JOB_STATE_SUCCEEDED");
  EXPECT_EQ(Run({"wait", "j1", "nope"}), 3);
}

TEST_F(CommandsTest, WaitThatIsOverBeforeTheJobs) {
  Have({RunningJob("moe-1", kNowMs)});
  EXPECT_EQ(Run({"wait", "moe-1", "--timeout", "0"}), 7);
  EXPECT_EQ(Err(), "polyctl: not all jobs ended within 0; they go on\n");
}

TEST_F(CommandsTest, SubmitWaitEndsAsTheJobDoes) {
  Have({FailedJob("moe-1", kNowMs)});
  EXPECT_EQ(Run({"submit", file_, "--wait"}), 8);
  EXPECT_EQ(Out(), "moe-1\n");
  EXPECT_THAT(Err(), HasSubstr("moe-1  failed  step 0  0/1M tokens (0%)  loss is not finite\n"));
  server_.jobs.logs = [](auto&, auto*, auto* writer) {
    v1::LogLine line;
    line.set_attempt(1);
    line.set_number(1);
    line.set_text("step 1");
    writer->Write(line);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"submit", file_, "--follow"}), 8);
  EXPECT_EQ(Out(), "moe-1\n");
  EXPECT_THAT(Err(), HasSubstr("step 1\n"));
}

TEST_F(CommandsTest, LogsAreDataAndTheirSeamsAreNot) {
  Have({RunningJob("moe-1", kNowMs)});
  server_.jobs.logs = [](const v1::StreamLogsRequest& request, auto*, auto* writer) {
    EXPECT_EQ(request.job(), "moe-1") << "by id, though it was asked for by name";
    for (uint32_t attempt = 1; attempt <= 2 && request.attempt() == 0; ++attempt) {
      v1::LogLine line;
      line.set_attempt(attempt);
      line.set_number(1);
      line.set_text(absl::StrCat("of ", attempt));
      writer->Write(line);
    }
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"logs", "moe"}), 0);
  EXPECT_EQ(Out(), "of 1\nof 2\n");
  EXPECT_EQ(Err(), "--- attempt 2 ---\n");
  EXPECT_EQ(Run({"logs", "moe", "--attempt", "3"}), 0);
  EXPECT_EQ(Out(), "");
  EXPECT_THAT(Err(), HasSubstr("No lines: moe-1  running")) << "silence is explained";
  EXPECT_EQ(Run({"logs", "moe", "--rank", "2"}), 3);
  EXPECT_EQ(Err(), "polyctl: job moe-1 has 2 ranks; --rank goes from 0 to 1\n");
  EXPECT_EQ(Run({"logs", "moe", "--rank", "first"}), 2);
}

TEST_F(CommandsTest, LogsOfAllRanksAreInOneOrder) {
  v1::Job job = RunningJob("moe-1", kNowMs);  // with two ranks
  job.mutable_attempts(0)->mutable_placements()->DeleteSubrange(1, 1);
  Have({job});
  server_.jobs.logs = [](const v1::StreamLogsRequest& request, auto*, auto* writer) {
    for (int i = 1; i <= 2; ++i) {
      v1::LogLine line;
      line.set_attempt(2);
      line.set_rank(request.rank());
      line.set_number(i);
      line.set_time_ms(i * 100 + request.rank());
      line.set_text(absl::StrCat("line ", i));
      writer->Write(line);
    }
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"logs", "moe-1", "--rank", "all"}), 0);
  EXPECT_EQ(Out(), "[0] line 1\n[1] line 1\n[0] line 2\n[1] line 2\n");
  EXPECT_EQ(Run({"logs", "moe-1", "--rank", "all", "--tail", "1"}), 0);
  EXPECT_EQ(Out(), "[1] line 2\n");
  EXPECT_EQ(Run({"logs", "moe-1", "--rank", "all", "-f"}), 2);
  EXPECT_THAT(Err(), HasSubstr("--follow goes with one rank"));
  EXPECT_EQ(Run({"logs", "moe-1", "--rank", "1", "--attempt", "1"}), 3);
  EXPECT_EQ(Err(), "polyctl: attempt 1 of job moe-1 has 1 rank; --rank goes from 0 to 0\n");
}

TEST_F(CommandsTest, WatchElsewhereThanOnATerminalPrintsLines) {
  HaveJobsThatEnded({v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED});
  EXPECT_EQ(Run({"watch", "j1", "j2", "j1"}), 8);
  EXPECT_THAT(Out(), MatchesRegex("j1  succeeded[^\n]*\nj2  failed[^\n]*\n"));
  jobs_.clear();
  EXPECT_EQ(Run({"watch"}), 0);
  EXPECT_EQ(Err(), "Nothing to watch: no job waits or runs.\n");
  EXPECT_EQ(listed_.states_size(), 3);
}

TEST_F(CommandsTest, WatchOnATerminalDrawsOverItself) {
  Have({RunningJob("moe-1", kNowMs)});
  server_.metrics.query = [](const v1::QueryRequest& request, v1::QueryResponse* response) {
    EXPECT_EQ(request.names(0), "loss");
    v1::Series& series = *response->add_series();
    for (const double value : {4.0, 3.0, 2.0}) series.add_points()->set_value(value);
    return grpc::Status::OK;
  };
  console_.console.out_is_terminal = true;
  console_.console.width = 120;
  console_.console.height = 24;
  EXPECT_EQ(Run({"watch", "moe-1"}), 6) << "the coordinator of this test leaves";
  EXPECT_THAT(Out(), AllOf(HasSubstr("██▌░░░░░░░"), HasSubstr("█▄▁"), HasSubstr("\033[K\n"), Not(HasSubstr("\033[1m"))));
  EXPECT_EQ(Run({"watch", "moe-1", "--once"}), 0);
  EXPECT_THAT(Out(), Not(HasSubstr("\033")));
}

TEST_F(CommandsTest, CancelGoesOnAfterAnError) {
  server_.jobs.cancel = [](const v1::CancelJobRequest& request, v1::Job* job) {
    if (request.job() == "nope") return grpc::Status(grpc::StatusCode::NOT_FOUND, "there is no job 'nope'");
    job->set_id(request.job());
    job->set_state(request.job() == "j1" ? v1::JOB_STATE_RUNNING : v1::JOB_STATE_CANCELLED);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"cancel", "nope", "j1", "j2"}), 3);
  EXPECT_EQ(Out(), "j1\nj2\n");
  EXPECT_EQ(Err(), "j1: being cancelled\nj2: cancelled\npolyctl: there is no job 'nope'\n");
}

TEST_F(CommandsTest, CompareTakesEachJobOnceHoweverItIsNamed) {
  Have({SampleJob("j1", v1::JOB_STATE_SUCCEEDED, kNowMs), SampleJob("j2", v1::JOB_STATE_SUCCEEDED, kNowMs)});
  server_.metrics.query = [](auto&, v1::QueryResponse* response) {
    for (const char* name : {"loss", "grad_norm", "val_loss/near"}) response->add_series()->set_name(name);
    v1::Series& rate = *response->add_series();
    rate.set_name("tokens_per_second");
    rate.add_points()->set_value(1500);
    return grpc::Status::OK;
  };
  server_.metrics.compare = [](const v1::CompareRequest& request, v1::CompareResponse* response) {
    response->add_tokens(1000);
    for (const std::string& name : request.names()) {
      for (const std::string& job : request.jobs()) {
        v1::CompareRow& row = *response->add_rows();
        row.set_name(name);
        row.set_job(job);
        row.add_cells()->set_present(true);
        row.mutable_cells(0)->set_value(job == "j1" ? 2.5 : 1.5);
      }
    }
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"compare", "j2", "j1", "j2", "-l", "study=activations"}), 0);
  EXPECT_THAT(Out(), AllOf(HasSubstr("loss at equal tokens\n"), HasSubstr("val_loss/near at equal tokens\n"),
                           Not(HasSubstr("grad_norm")), HasSubstr("   1  j2   polynorm(3)  1.5000"), HasSubstr("1.5k\n"),
                           HasSubstr("   2  j1   polynorm(3)  2.5000  +1.0000")));
  EXPECT_EQ(Run({"compare", "j1", "--metric", "loss", "--metric", "loss"}), 0);
  EXPECT_EQ(Run({"compare", "j1", "j2", "-o", "json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(Out())["rows"].size(), 4u);
  EXPECT_EQ(Run({"compare"}), 3);
  server_.metrics.query = [](auto&, auto*) { return grpc::Status::OK; };
  EXPECT_EQ(Run({"compare", "j1"}), 5);
  EXPECT_THAT(Err(), HasSubstr("no metric in common yet"));
}

TEST_F(CommandsTest, Workers) {
  EXPECT_EQ(Run({"workers", "ls"}), 0);
  EXPECT_EQ(Out(), "");
  EXPECT_EQ(Err(), absl::StrCat("No workers. Start one with `polymoe-worker --server ", server_.address(), "`.\n"));
  v1::Worker& worker = *server_.workers.workers.add_workers();
  worker.set_name("node-1");
  worker.set_host("rack\n7");
  worker.set_connected(true);
  worker.set_last_seen_ms(kNowMs - 2000);
  for (uint32_t slot = 0; slot < 2; ++slot) worker.add_slots()->set_threads(4);
  worker.add_running()->set_job("moe-1");
  server_.workers.workers.add_workers()->set_name("node-22");
  EXPECT_EQ(Run({"workers", "ls"}), 0);
  EXPECT_EQ(Out(),
            "WORKER   STATE         SLOTS  BUSY  THREADS  HOST    SEEN  RUNNING\n"
            "node-1   connected         2     1        4  rack 7    2s  moe-1/0\n"
            "node-22  disconnected      0     0        0             -\n");
  EXPECT_EQ(Run({"workers", "drain", "node-1"}), 1) << "not in this fake: UNIMPLEMENTED";
}

TEST_F(CommandsTest, ValidateSaysWhetherItWouldStart) {
  EXPECT_EQ(Run({"validate", file_, "--offline"}), 0);
  EXPECT_EQ(Out(), "valid\n");
  server_.jobs.validate = [](auto&, auto*) { return grpc::Status::OK; };
  EXPECT_EQ(Run({"validate", file_}), 0);
  EXPECT_EQ(Out(), "valid; would start at once\n");
  server_.jobs.validate = [](auto&, v1::ValidateResponse* response) {
    response->mutable_would_wait()->set_detail("needs 1 slot, no worker is connected");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"validate", file_}), 0);
  EXPECT_EQ(Out(), "valid; would wait: needs 1 slot, no worker is connected\n");
}

}  // namespace
}  // namespace polymoe::polyctl
