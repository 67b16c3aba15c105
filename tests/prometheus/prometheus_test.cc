// A real Prometheus with our configuration against a real coordinator: what it answers of the curves is what the store has, every value
// and no other; and it can evaluate every rule.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include <nlohmann/json.hpp>

#include "polymoe/v1/job.pb.h"
#include "polymoe/v1/metric.grpc.pb.h"

#include "common/file.h"
#include "server/store/store.h"
#include "tests/fakes/program.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kTokensPerStep = 256, kSteps = 400, kGrid = 100;

// /metrics has 16 significant digits: what is left of a value on the way.
double AsWritten(double value) {
  return std::strtod(absl::StrFormat("%.16g", value).c_str(), nullptr);
}

// A job of 400 steps that has got to `tokens`.
v1::Job Job(const std::string& id, v1::JobState state, uint64_t tokens) {
  v1::Job job;
  job.set_id(id);
  job.set_state(state);
  job.set_created_ms(1);
  if (state == v1::JOB_STATE_SUCCEEDED) job.set_finished_ms(2);
  job.mutable_file()->mutable_metadata()->set_name(id);
  v1::JobSpec& spec = *job.mutable_file()->mutable_spec();
  spec.mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_POLYNORM);
  spec.mutable_data()->set_sequence_length(32);
  spec.mutable_train()->set_global_batch(kTokensPerStep / 32);
  spec.mutable_train()->set_tokens(kSteps * kTokensPerStep);
  spec.mutable_train()->set_seed(7);
  spec.mutable_resources()->set_ranks(1);
  for (const char* set : {"books", "code"}) spec.mutable_validation()->add_sets()->set_name(set);
  job.mutable_progress()->set_tokens(tokens);
  job.mutable_ablation()->set_id("act-1");
  job.mutable_ablation()->set_arm("polynorm");
  return job;
}

void AddAttempt(v1::Job& job, uint64_t start_step) {
  v1::Attempt& attempt = *job.add_attempts();
  attempt.set_number(job.attempts_size());
  attempt.set_start_step(start_step);
  attempt.set_ended_ms(2);
  attempt.add_started_ranks(0);
  attempt.add_ended_ranks(0);
}

// Values of the steps first..last of an attempt; validation every 37 steps.
void AddSteps(const std::string& job, uint32_t attempt, uint64_t first, uint64_t last, const std::function<double()>& value,
              StoreBatch& batch) {
  for (uint64_t step = first; step <= last; ++step) {
    std::vector<std::string> names = {"loss", "grad_norm"};
    if (step % 37 == 0) names.insert(names.end(), {"val_loss/books", "val_loss/code", "val_bpb/books", "val_bpb/code"});
    for (const std::string& name : names) {
      batch.points.push_back(
          {job, name, {.attempt = attempt, .step = step, .tokens = step * kTokensPerStep, .time_ms = 1, .value = value()}});
    }
  }
}

// Family, run, split, domain, tokens -> value.
using Curves = std::map<std::string, double>;

std::string Key(const std::string& family, const std::string& run, const std::string& split, const std::string& domain,
                const std::string& tokens) {
  return absl::StrCat(family, " ", run, " ", split, " ", domain, " ", tokens);
}

class PrometheusTest : public ::testing::Test {
 protected:
  ~PrometheusTest() override {
    for (const pid_t pid : running_) kill(pid, SIGKILL);
    for (const pid_t pid : running_) Reap(pid);
  }

  void Start(const std::vector<std::string>& argv, const std::string& log) {
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    const auto pid = StartProcess({.argv = argv, .descriptors = {{fd, 1}, {fd, 2}}});
    close(fd);
    ASSERT_TRUE(pid.ok()) << pid.status();
    running_.push_back(*pid);
  }

  void StartServer(const std::vector<std::string>& flags = {}) {
    const std::string address_file = dir_.path() + "/server.json";
    std::vector<std::string> argv = {BuiltProgram("polymoe-server"),
                                     "--listen",
                                     "127.0.0.1:0",
                                     "--metrics",
                                     "127.0.0.1:0",
                                     "--store",
                                     store_url(),
                                     "--address-file",
                                     address_file};
    argv.insert(argv.end(), flags.begin(), flags.end());
    Start(argv, dir_.path() + "/server.log");
    ASSERT_TRUE(WaitUntil([&] { return PathExists(address_file); })) << *ReadFile(dir_.path() + "/server.log");
    const json addresses = json::parse(*ReadFile(address_file));
    metrics_ = addresses.at("metrics");
    stub_ = v1::MetricService::NewStub(
        grpc::CreateChannel(addresses.at("grpc").get<std::string>(), grpc::InsecureChannelCredentials()));
  }

  // With the configuration that we ship, but for the coordinator's address and for patience.
  void StartPrometheus() {
    const std::string config = dir_.path() + "/prometheus/prometheus.yml", log = dir_.path() + "/prometheus.log";
    std::filesystem::copy(POLYMOE_SOURCE_DIR "/deploy/prometheus", dir_.path() + "/prometheus",
                          std::filesystem::copy_options::recursive);
    const std::string changed =
        absl::StrReplaceAll(*ReadFile(config), {{"127.0.0.1:9464", metrics_}, {"interval: 15s", "interval: 1s"}});
    ASSERT_THAT(changed, HasSubstr(metrics_));
    ASSERT_TRUE(WriteFileDurably(config, changed).ok());
    Start({"/usr/bin/prometheus", "--config.file", config, "--storage.tsdb.path", dir_.path() + "/tsdb", "--web.listen-address",
           "127.0.0.1:0"},
          log);
    const std::string mark = "msg=\"Listening on\" address=";
    ASSERT_TRUE(WaitUntil([&] {
      const std::string text = *ReadFile(log);
      const size_t at = text.find(mark), end = text.find('\n', at == std::string::npos ? 0 : at);
      if (at == std::string::npos || end == std::string::npos) return false;
      prometheus_ = text.substr(at + mark.size(), end - at - mark.size());
      return true;
    })) << *ReadFile(log);
  }

  std::string Scrape() const { return RunProgram({"/usr/bin/curl", "-s", absl::StrCat("http://", metrics_, "/metrics")}).out; }

  // "data" of an answer of Prometheus, empty while it has none.
  json Ask(const std::string& path) const {
    const Output answer = RunProgram({"/usr/bin/curl", "-s", absl::StrCat("http://", prometheus_, "/api/v1/", path)});
    const json parsed = json::parse(answer.out, nullptr, /*allow_exceptions=*/false);
    return parsed.is_object() && parsed.value("status", "") == "success" ? parsed.at("data") : json::object();
  }

  Curves OfPrometheus() const {
    Curves curves;
    for (const char* family : {"polymoe_curve_loss", "polymoe_curve_bpb"}) {
      const json data = Ask(absl::StrCat("query?query=", family));
      for (const json& series : data.at("result")) {
        const json& labels = series.at("metric");
        EXPECT_EQ(labels.at("ablation"), "act-1");
        EXPECT_EQ(labels.at("arm"), "polynorm");
        EXPECT_EQ(labels.at("activation"), "polynorm");
        EXPECT_EQ(labels.at("seed"), "7");
        curves[Key(family, labels.at("run"), labels.at("split"), labels.at("domain"), labels.at("tokens"))] =
            std::strtod(series.at("value").at(1).get<std::string>().c_str(), nullptr);
      }
    }
    return curves;
  }

  // All points of a run as MetricService answers them, put into the grid by hand.
  void AddOfStore(const std::string& run, Curves& curves) const {
    grpc::ClientContext context;
    v1::QueryRequest request;
    request.set_job(run);
    v1::QueryResponse response;
    ASSERT_TRUE(stub_->Query(&context, request, &response).ok());
    for (const v1::Series& series : response.series()) {
      std::string domain = series.name();
      const bool train = domain == "loss", bpb = absl::StartsWith(domain, "val_bpb/");
      if (!train && !bpb && !absl::StartsWith(domain, "val_loss/")) continue;
      domain = train ? "train" : domain.substr(domain.find('/') + 1);
      for (uint64_t k = 1; k <= kGrid; ++k) {
        const uint64_t end = k * kSteps * kTokensPerStep / kGrid, begin = (k - 1) * kSteps * kTokensPerStep / kGrid;
        double sum = 0, last = 0;
        int count = 0;
        for (const v1::SeriesPoint& point : series.points()) {
          if (point.tokens() <= begin || point.tokens() > end) continue;
          sum += last = point.value();
          ++count;
        }
        if (count == 0 || (train && series.points().rbegin()->tokens() < end)) continue;
        curves[Key(bpb ? "polymoe_curve_bpb" : "polymoe_curve_loss", run, train ? "train" : "val", domain, absl::StrCat(end))] =
            AsWritten(train ? sum / count : last);
      }
    }
  }

  void Keep(const std::vector<v1::Job>& jobs, StoreBatch batch) const {
    for (const v1::Job& job : jobs) {
      JobRow row{.id = job.id(), .request_id = job.id()};
      ASSERT_TRUE(google::protobuf::util::MessageToJsonString(job, &row.json).ok());
      batch.jobs.push_back(row);
    }
    const auto store = OpenStore(store_url());
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->Commit(batch).ok());
  }
  std::string store_url() const { return absl::StrCat("sqlite:", dir_.path(), "/polymoe.db"); }

  TempDir dir_;
  std::vector<pid_t> running_;
  std::string metrics_, prometheus_;
  std::unique_ptr<v1::MetricService::Stub> stub_;
};

TEST_F(PrometheusTest, AnswersTheCurvesOfTheStore) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  const auto any = [&] { return std::uniform_real_distribution(0.5, 9.5)(random); };
  const auto exact = [&] {
    return static_cast<double>(random() % 4096) / 512;
  };  // means of four have few digits: nothing is cut off
  StoreBatch batch;
  v1::Job exact_one = Job("exact", v1::JOB_STATE_SUCCEEDED, kSteps * kTokensPerStep), ended = exact_one;
  AddAttempt(exact_one, 0);
  AddSteps("exact", 1, 1, kSteps, exact, batch);
  ended.set_id("ended");
  AddAttempt(ended, 0);
  AddSteps("ended", 1, 1, kSteps, any, batch);
  // Resumed from step 100, and within a milestone when it lost its worker again: superseded points and an open bucket do not count.
  v1::Job resumed = Job("resumed", v1::JOB_STATE_PENDING, 237 * kTokensPerStep);
  AddAttempt(resumed, 0);
  AddSteps("resumed", 1, 1, 180, any, batch);
  AddAttempt(resumed, 100);
  AddSteps("resumed", 2, 101, 237, any, batch);
  Keep({exact_one, ended, resumed}, std::move(batch));

  StartServer();
  StartPrometheus();
  ASSERT_TRUE(WaitUntil([&] { return !Ask("query?query=polymoe_curve_bpb").value("result", json::array()).empty(); }))
      << *ReadFile(dir_.path() + "/prometheus.log");
  Curves of_store;
  for (const char* run : {"exact", "ended", "resumed"}) AddOfStore(run, of_store);
  // 100 milestones of loss, and validations at 10 of 400 steps, two sets in nats and bits; of 237 steps 59 and 6.
  EXPECT_EQ(of_store.size(), 2u * (100 + 10 * 4) + 59 + 6 * 4);
  EXPECT_EQ(OfPrometheus(), of_store);
}

TEST_F(PrometheusTest, EndedRunsKeepTheirCurvesAsLongAsAsked) {
  StoreBatch batch;
  std::vector<v1::Job> jobs;
  for (const int i : {1, 2, 3}) {
    jobs.push_back(Job(absl::StrCat("j", i), v1::JOB_STATE_SUCCEEDED, kSteps * kTokensPerStep));
    jobs.back().set_finished_ms(i);
    AddAttempt(jobs.back(), 0);
    AddSteps(
        jobs.back().id(), 1, 1, kSteps, [] { return 1.0; }, batch);
  }
  Keep(jobs, std::move(batch));
  StartServer({"--curve-runs-kept", "2"});
  const std::string scrape = Scrape();
  EXPECT_THAT(scrape, Not(HasSubstr("polymoe_curve_loss{run=\"j1\"")));
  EXPECT_THAT(scrape, HasSubstr("polymoe_curve_loss{run=\"j2\""));
  EXPECT_THAT(scrape, HasSubstr("polymoe_curve_loss{run=\"j3\""));
}

TEST_F(PrometheusTest, AnAblationOfTheStoreIsShown) {
  StoreBatch batch;
  batch.ablations.push_back({.id = "act-1", .request_id = "act-1", .json = R"({"id": "act-1", "state": "ABLATION_STATE_SUCCEEDED",
      "file": {"metadata": {"name": "act"}}, "runs": [{"arm": "polynorm", "seed": 7, "job": "j"}]})"});
  Keep({Job("j", v1::JOB_STATE_SUCCEEDED, kSteps * kTokensPerStep)}, std::move(batch));
  StartServer();
  const std::string scrape = Scrape();
  EXPECT_THAT(scrape, HasSubstr("polymoe_ablation_info{ablation=\"act-1\",name=\"act\"} 1\n"));
  EXPECT_THAT(scrape, HasSubstr("polymoe_ablation_runs{ablation=\"act-1\",state=\"succeeded\"} 1\n"));
  EXPECT_THAT(scrape, HasSubstr("polymoe_ablation_progress_ratio{ablation=\"act-1\"} 1\n"));
}

TEST_F(PrometheusTest, EvaluatesEveryRule) {
  StartServer();
  StartPrometheus();
  const auto rules = [&] {
    std::vector<json> all;
    const json data = Ask("rules");
    for (const json& group : data.value("groups", json::array()))
      all.insert(all.end(), group.at("rules").begin(), group.at("rules").end());
    return all;
  };
  // Evaluated once each.
  ASSERT_TRUE(WaitUntil([&] {
    const std::vector<json> all = rules();
    return !all.empty() && std::none_of(all.begin(), all.end(), [](const json& rule) { return rule.at("health") == "unknown"; });
  }));
  for (const json& rule : rules()) {
    EXPECT_EQ(rule.at("health"), "ok") << rule;
    if (rule.at("type") != "alerting") continue;
    // The next step is a command.
    EXPECT_THAT(rule.at("annotations").value("description", ""), HasSubstr("Next: `polyctl ")) << rule;
    EXPECT_FALSE(rule.at("annotations").value("summary", "").empty()) << rule;
  }
}

}  // namespace
}  // namespace polymoe
