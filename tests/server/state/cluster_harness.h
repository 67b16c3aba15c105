// A Cluster with the words of its tests: workers register, ranks report, time passes.
#ifndef POLYMOE_TESTS_SERVER_STATE_CLUSTER_HARNESS_H_
#define POLYMOE_TESTS_SERVER_STATE_CLUSTER_HARNESS_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "server/state/cluster.h"

namespace polymoe {

inline v1::JobFile File(const std::string& name, uint32_t ranks = 1) {
  v1::JobFile file;
  file.mutable_metadata()->set_name(name);
  file.mutable_spec()->mutable_resources()->set_ranks(ranks);
  file.mutable_spec()->mutable_train()->set_tokens(1000);
  file.mutable_spec()->mutable_restart()->set_max_failures(2);
  file.mutable_spec()->mutable_restart()->set_max_worker_losses(3);
  file.mutable_spec()->mutable_restart()->set_backoff_seconds(1);
  return file;
}

inline v1::SubmitRequest Request(const std::string& request_id, const v1::JobFile& file) {
  v1::SubmitRequest request;
  request.set_request_id(request_id);
  *request.mutable_file() = file;
  return request;
}

inline v1::RankRef Ref(const std::string& job, uint32_t attempt, uint32_t rank) {
  v1::RankRef ref;
  ref.set_job(job);
  ref.set_attempt(attempt);
  ref.set_rank(rank);
  return ref;
}

inline v1::Register Registration(const std::string& worker, uint32_t slots, const std::string& instance,
                                 const std::vector<v1::RankRef>& running = {}) {
  v1::Register message;
  message.set_worker(worker);
  message.set_instance(instance);
  message.set_host("host");
  for (uint32_t slot = 0; slot < slots; ++slot) message.add_slots()->set_index(slot);
  message.mutable_running()->Assign(running.begin(), running.end());
  return message;
}

inline v1::Report Started(const v1::RankRef& rank, uint64_t start_step = 0) {
  v1::Report report;
  *report.mutable_rank() = rank;
  report.mutable_started()->set_start_step(start_step);
  return report;
}

inline v1::Report Points(const v1::RankRef& rank, uint64_t step, double loss) {
  v1::Report report;
  *report.mutable_rank() = rank;
  report.mutable_points()->set_step(step);
  report.mutable_points()->set_tokens(step * 10);
  (*report.mutable_points()->mutable_values())["loss"] = loss;
  return report;
}

inline v1::Report Saved(const v1::RankRef& rank, uint64_t step) {
  v1::Report report;
  *report.mutable_rank() = rank;
  report.mutable_checkpoint()->set_step(step);
  report.mutable_checkpoint()->set_tokens(step * 10);
  report.mutable_checkpoint()->set_path(absl::StrCat("/checkpoints/", rank.job(), "/step-", step));
  return report;
}

inline v1::Report Exited(const v1::RankRef& rank, int code, const std::string& worker = "a", const std::string& error = "") {
  v1::Report report;
  *report.mutable_rank() = rank;
  report.mutable_exited()->mutable_exit()->set_rank(rank.rank());
  report.mutable_exited()->mutable_exit()->set_worker(worker);
  report.mutable_exited()->mutable_exit()->set_exit_code(code);
  report.mutable_exited()->set_error(error);
  return report;
}

inline v1::Report Stopped(const v1::RankRef& rank, const std::string& worker = "a") {
  v1::Report report = Exited(rank, 3, worker);
  report.mutable_exited()->set_stopped(true);
  return report;
}

class ClusterTest : public ::testing::Test {
 protected:
  // The id is NAME-1.
  v1::Job Submit(const v1::JobFile& file) {
    const std::string id = absl::StrCat(file.metadata().name(), "-1");
    return cluster_->Submit(Request(absl::StrCat("request of ", id), file), id, now_ms_)->job();
  }
  void Register(const std::string& worker, uint32_t slots, const std::string& instance = "i1",
                const std::vector<v1::RankRef>& running = {}) {
    cluster_->Register(Registration(worker, slots, instance, running), now_ms_);
  }
  void Report(const v1::Report& report, const std::string& worker = "a") { cluster_->HandleReport(worker, report, now_ms_); }
  // Every connected worker keeps its lease.
  void Pass(int64_t ms = 0) {
    now_ms_ += ms;
    for (const auto& [name, worker] : cluster_->workers()) {
      if (worker.connected) cluster_->Heartbeat(name, 1, now_ms_);
    }
    cluster_->Tick(now_ms_);
  }
  // Nobody is heard of meanwhile.
  void Silence(int64_t ms) { cluster_->Tick(now_ms_ += ms); }

  // One job of that many ranks on a worker "a", every rank training.
  void Train(const v1::JobFile& file) {
    Register("a", file.spec().resources().ranks());
    Submit(file);
    Pass();
    StartRanks(absl::StrCat(file.metadata().name(), "-1"));
    cluster_->Take();
  }
  void StartRanks(const std::string& id) {
    const v1::Attempt attempt = Newest(id);
    for (const v1::Placement& placement : attempt.placements()) {
      Report(Started(Ref(id, attempt.number(), placement.rank())), placement.worker());
    }
  }

  // Job "j-1" of one rank: its newest attempt ends with this report, and after the backoff the next one is launched.
  void NextAttempt(const v1::Report& report) {
    Report(report);
    ASSERT_EQ(Job("j-1").state(), v1::JOB_STATE_PENDING);
    Pass(Job("j-1").waiting().until_ms() - now_ms_);
    ASSERT_EQ(Job("j-1").state(), v1::JOB_STATE_STARTING);
  }

  // The coordinator dies after a commit; another one loads what was stored. Streams are gone.
  void RestartCoordinator() {
    auto next = std::make_unique<Cluster>(config_);
    for (const auto& [id, job] : cluster_->jobs()) {
      v1::Job stored;
      stored.ParseFromString(job.SerializeAsString());
      next->Restore(stored, cluster_->request_id(id), now_ms_);
    }
    for (const auto& [id, ablation] : cluster_->ablations()) {
      v1::Ablation stored;
      stored.ParseFromString(ablation.SerializeAsString());
      ASSERT_TRUE(next->RestoreAblation(stored, cluster_->ablation_request_id(id)).ok());
    }
    cluster_ = std::move(next);
  }

  const v1::Job& Job(const std::string& id) const { return cluster_->jobs().at(id); }
  const v1::Attempt& Newest(const std::string& id) const { return *Job(id).attempts().rbegin(); }

  // What was sent since the last Take, as "worker: launch job/attempt ranks 0 1", "worker: stop job/attempt" (and "soon" with
  // the short grace), "worker: drain", "worker: registered"; answers to heartbeats and reports are left out.
  std::vector<std::string> TakeOrders() {
    std::vector<std::string> orders;
    for (const auto& [worker, message] : cluster_->Take().messages) {
      if (message.has_launch()) {
        const v1::Launch& launch = message.launch();
        std::string& text = orders.emplace_back(absl::StrCat(worker, ": launch ", launch.job(), "/", launch.attempt(), " ranks"));
        for (const v1::Placement& placement : launch.placements()) absl::StrAppend(&text, " ", placement.rank());
      } else if (message.has_stop()) {
        orders.push_back(absl::StrCat(worker, ": stop ", message.stop().job(), "/", message.stop().attempt(),
                                      message.stop().grace_ms() == config_.broken_grace_ms ? " soon" : ""));
      } else if (message.has_drain()) {
        orders.push_back(absl::StrCat(worker, ": drain"));
      } else if (message.has_registered()) {
        orders.push_back(absl::StrCat(worker, ": registered"));
      }
    }
    return orders;
  }

  ClusterConfig config_;
  std::unique_ptr<Cluster> cluster_ = std::make_unique<Cluster>(config_);
  int64_t now_ms_ = 1'000'000;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_SERVER_STATE_CLUSTER_HARNESS_H_
