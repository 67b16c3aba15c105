// How soon a job trains again after something was killed or cut off, and whether it still computes the same. See recovery.sh.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include <CLI/CLI.hpp>

#include "polymoe/v1/job.grpc.pb.h"
#include "polymoe/v1/metric.grpc.pb.h"
#include "polymoe/v1/worker.grpc.pb.h"

#include "common/check.h"
#include "common/rpc/channel.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/far_network.h"
#include "tests/e2e/training_job.h"

namespace polymoe {
namespace {

constexpr char kTrainer[] = "kill -9 trainer", kDaemon[] = "kill -9 daemon", kCoordinator[] = "kill -9 coordinator",
               kCut[] = "blackhole route";
constexpr double kBound = 5;  // seconds beyond the load of the model

struct Options {
  int ranks = 2, repetitions = 3, steps = 2000;
  uint64_t seed = 0;
  bool network = false;
};

double Seconds(int64_t milliseconds) {
  return static_cast<double>(milliseconds) / 1000;
}

// What one fault cost, in seconds behind it.
struct Recovery {
  double first_step = 0;  // until the first step that was not there before
  double detection = 0;   // until the attempt was over
  double restart = 0;     // from there to the launch of the next
  double load = 0;        // from there until all ranks train
};

class Bench {
 public:
  Bench(const Options& options, FarNetwork* far) : options_(options), far_(far) {
    cluster_.StartServer();
    if (far_ != nullptr) far_->Forward(std::stoi(cluster_.server_address().substr(sizeof("127.0.0.1"))), cluster_.dir());
    for (int i = 0; i <= options.ranks; ++i) StartWorker(i);
    job_file_ = WriteJob(cluster_.dir(), options.steps, options.ranks, 50);
    channel_ = *OpenChannel(cluster_.server_address());
  }

  std::string Submit() {
    const Output submitted = cluster_.Polyctl({"submit", job_file_, "--set", "spec.restart.backoffSeconds=1"});
    POLYMOE_CHECK(submitted.exit_code == 0, "%s", submitted.err.c_str());
    return std::string(absl::StripAsciiWhitespace(submitted.out));
  }

  v1::Job Get(const std::string& id) {
    v1::GetJobRequest request;
    request.set_job(id);
    v1::Job job;
    const auto stub = v1::JobService::NewStub(channel_);
    const grpc::Status status = Retry([&](grpc::ClientContext* context) { return stub->Get(context, request, &job); });
    POLYMOE_CHECK(status.ok(), "Get: %s", status.error_message().c_str());
    return job;
  }
  // Every few milliseconds until `done`.
  v1::Job Await(const std::string& id, const std::function<bool(const v1::Job&)>& done) {
    const absl::Time end = absl::Now() + absl::Minutes(2);
    for (v1::Job job = Get(id);; job = Get(id)) {
      if (done(job)) return job;
      POLYMOE_CHECK(absl::Now() < end, "the job does not go on:\n%s%s", job.DebugString().c_str(),
                    cluster_.LogTail("server").c_str());
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  void AwaitEnd(const std::string& id) {
    const v1::Job job = Await(id, [](const v1::Job& j) { return j.state() >= v1::JOB_STATE_SUCCEEDED; });
    POLYMOE_CHECK(job.state() == v1::JOB_STATE_SUCCEEDED, "the job did not succeed:\n%s", job.DebugString().c_str());
  }

  // The loss of every step in the default view, and the trainer's times in milliseconds.
  struct Trace {
    std::map<uint64_t, double> loss;
    std::map<uint64_t, int64_t> time_ms;
  };
  Trace LossOf(const std::string& id) {
    v1::QueryRequest request;
    request.set_job(id);
    request.add_names("loss");
    request.set_axis(v1::AXIS_STEP);
    v1::QueryResponse response;
    const auto stub = v1::MetricService::NewStub(channel_);
    const grpc::Status status = Retry([&](grpc::ClientContext* context) { return stub->Query(context, request, &response); });
    POLYMOE_CHECK(status.ok() && response.series_size() == 1, "Query: %s", status.error_message().c_str());
    Trace trace;
    for (const v1::SeriesPoint& point : response.series(0).points()) {
      POLYMOE_CHECK(trace.loss.emplace(point.step(), point.value()).second, "step %d is there twice",
                    static_cast<int>(point.step()));
      trace.time_ms[point.step()] = point.time_ms();
    }
    for (uint64_t step = 1; step <= static_cast<uint64_t>(options_.steps); ++step) {
      POLYMOE_CHECK(trace.loss.contains(step), "step %d is lost", static_cast<int>(step));
    }
    POLYMOE_CHECK(trace.loss.size() == static_cast<size_t>(options_.steps), "there are steps behind the last one");
    return trace;
  }

  // Trains a job, does `inject` to it at `step`, and waits for its end and for its workers.
  Recovery Disturb(uint64_t step, const std::string& fault, const Trace& undisturbed, std::mt19937_64& random) {
    const std::string id = Submit();
    const v1::Job before = Await(id, [&](const v1::Job& job) { return job.progress().step() >= step; });
    const v1::Attempt& hit = *before.attempts().rbegin();
    // The far worker is the first; of the others any.
    const uint64_t rank = fault == kCut ? 0 : random() % static_cast<uint64_t>(hit.placements_size());
    const v1::Placement victim = hit.placements(static_cast<int>(rank));
    const int64_t start_ms = absl::ToUnixMillis(absl::Now());
    const bool restarts = Inject(fault, victim);
    Recovery recovery;
    uint64_t first_step = 0;
    if (restarts) {
      const v1::Job again = Await(id, [&](const v1::Job& job) {
        return job.attempts_size() > before.attempts_size() && job.state() == v1::JOB_STATE_RUNNING;
      });
      const int64_t loaded_ms = absl::ToUnixMillis(absl::Now());
      const v1::Attempt& next = *again.attempts().rbegin();
      POLYMOE_CHECK(next.number() == hit.number() + 1, "it took more than one attempt:\n%s", again.DebugString().c_str());
      recovery.detection = Seconds(again.attempts(static_cast<int>(hit.number()) - 1).ended_ms() - start_ms);
      recovery.restart = Seconds(next.started_ms() - start_ms) - recovery.detection;
      recovery.load = Seconds(loaded_ms - next.started_ms());
      first_step = next.start_step() + 1;
    }
    Repair(fault, victim.worker());
    AwaitEnd(id);
    const Trace trace = LossOf(id);
    for (const auto& [at, loss] : undisturbed.loss) {
      POLYMOE_CHECK(loss == trace.loss.at(at), "%s: the loss of step %d is %.17g, undisturbed it is %.17g", fault.c_str(),
                    static_cast<int>(at), trace.loss.at(at), loss);
    }
    if (first_step == 0) {  // training went on: the first step behind the fault
      first_step =
          std::find_if(trace.time_ms.begin(), trace.time_ms.end(), [&](const auto& p) { return p.second > start_ms; })->first;
      POLYMOE_CHECK(Get(id).attempts_size() == before.attempts_size(), "%s: the job was started again", fault.c_str());
    }
    recovery.first_step = Seconds(trace.time_ms.at(first_step) - start_ms);
    return recovery;
  }

  // All workers are back and all slots free.
  void AwaitIdle() {
    const auto stub = v1::WorkerService::NewStub(channel_);
    POLYMOE_CHECK(WaitUntil([&] {
                    grpc::ClientContext context;
                    v1::ListWorkersResponse workers;
                    if (!stub->List(&context, {}, &workers).ok() || workers.workers_size() != options_.ranks + 1) return false;
                    return std::all_of(workers.workers().begin(), workers.workers().end(),
                                       [](const v1::Worker& w) { return w.connected() && w.running().empty(); });
                  }),
                  "workers do not come back:\n%s", cluster_.LogTail("server").c_str());
  }

 private:
  // Until it is answered: the coordinator may be dead for a moment.
  template <class Call>
  grpc::Status Retry(const Call& call) {
    const absl::Time end = absl::Now() + absl::Seconds(30);
    while (true) {
      grpc::ClientContext context;
      grpc::Status status = call(&context);
      if (status.error_code() != grpc::StatusCode::UNAVAILABLE || absl::Now() > end) return status;
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  // Worker i of ranks + 1, one of them to spare; where there is a second network, the first is over there.
  void StartWorker(int i) {
    const bool is_far = far_ != nullptr && i == 0;
    std::vector<std::string> flags;
    // A trainer alone meets nobody.
    if (far_ != nullptr && options_.ranks > 1) flags = {"--bind", is_far ? FarNetwork::kFar : FarNetwork::kNear};
    cluster_.StartWorker(absl::StrCat("w", i), 1, flags, is_far ? far_->behind() : std::vector<std::string>());
  }

  // True when the job has to be started again.
  bool Inject(const std::string& fault, const v1::Placement& victim) {
    if (fault == kTrainer) {
      const std::vector<pid_t> trainers = cluster_.Trainers();
      POLYMOE_CHECK(trainers.size() == static_cast<size_t>(options_.ranks), "%zu trainers run", trainers.size());
      POLYMOE_CHECK(kill(trainers[victim.rank()], SIGKILL) == 0);
    } else if (fault == kDaemon) {
      cluster_.Kill(victim.worker());
    } else if (fault == kCut) {
      far_->Cut();
    } else {
      cluster_.Kill("server");
      cluster_.StartServer();
      return false;
    }
    return true;
  }
  void Repair(const std::string& fault, const std::string& worker) {
    if (fault == kDaemon) StartWorker(std::stoi(worker.substr(1)));
    if (fault == kCut) far_->Heal();
  }

  const Options options_;
  FarNetwork* const far_;  // null: there is none
  Cluster cluster_;
  std::string job_file_;
  std::shared_ptr<grpc::Channel> channel_;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// A row of the table; false when the bound is broken.
bool Print(const std::string& fault, const std::vector<Recovery>& recoveries) {
  const auto column = [&](double Recovery::*member) {
    std::vector<double> values;
    for (const Recovery& recovery : recoveries) values.push_back(recovery.*member);
    return absl::StrFormat("%7.2f %6.2f", Median(values), *std::max_element(values.begin(), values.end()));
  };
  const bool kept =
      std::all_of(recoveries.begin(), recoveries.end(), [](const Recovery& r) { return r.first_step <= kBound + r.load; });
  absl::PrintF("%-20s %s  %s  %s  %s   %s\n", fault, column(&Recovery::first_step), column(&Recovery::detection),
               column(&Recovery::restart), column(&Recovery::load), kept ? "kept" : "BROKEN");
  std::fflush(stdout);
  return kept;
}

int Run(const Options& options) {
  std::mt19937_64 random(options.seed);
  std::optional<FarNetwork> far;
  if (options.network) far.emplace();
  Bench bench(options, far.has_value() ? &*far : nullptr);
  const std::string first = bench.Submit();
  bench.AwaitEnd(first);
  const Bench::Trace undisturbed = bench.LossOf(first);
  absl::PrintF(
      "%d ranks, %d steps, seed %d. Seconds, median and largest of %d; every job has the losses of an undisturbed one, to the "
      "bit.\n",
      options.ranks, options.steps, options.seed, options.repetitions);
  absl::PrintF("%-20s %14s  %14s  %14s  %14s   %s\n", "", "new step after", "of it detected", "started again", "model loaded",
               "5 s + load");
  std::vector<std::string> faults = {kTrainer, kDaemon, kCoordinator};
  if (options.network) faults.push_back(kCut);
  bool kept = true;
  for (const std::string& fault : faults) {
    std::vector<Recovery> recoveries;
    for (int i = 0; i < options.repetitions; ++i) {
      bench.AwaitIdle();
      const auto steps = static_cast<uint64_t>(options.steps);
      recoveries.push_back(bench.Disturb(steps / 5 + random() % (steps / 2), fault, undisturbed, random));
    }
    kept = Print(fault, recoveries) && kept;
  }
  return kept ? 0 : 1;
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  polymoe::Options options;
  options.seed = std::random_device{}();
  CLI::App app("Kills parts of a cluster that trains, and says how soon it trains again. Run recovery.sh.", "recovery");
  app.add_option("--ranks", options.ranks, "ranks of the job")->capture_default_str();
  app.add_option("--reps", options.repetitions, "times that each fault is done")->capture_default_str();
  app.add_option("--steps", options.steps, "steps of the job")->capture_default_str();
  app.add_option("--seed", options.seed, "of where the faults fall");
  app.add_flag("--network", options.network, "cut off a worker in another network namespace too");
  CLI11_PARSE(app, argc, argv);
  return polymoe::Run(options);
}
