// A worker daemon as the coordinator may rely on it: a stream that breaks and loses what is under way, reports that are kept until they
// are acknowledged, ranks that are started at most once an attempt and end when the daemon's own lease runs out.
#ifndef POLYMOE_TESTS_SERVER_STATE_DAEMON_MODEL_H_
#define POLYMOE_TESTS_SERVER_STATE_DAEMON_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "polymoe/v1/worker.pb.h"

namespace polymoe {

class DaemonModel {
 public:
  struct RankKey {
    std::string job;
    uint32_t attempt = 0, rank = 0;
    auto operator<=>(const RankKey&) const = default;
  };
  struct Rank {
    uint32_t slot = 0;
    bool training = false, told_to_stop = false, hangs = false;
    uint64_t step = 0;
  };

  DaemonModel(std::string name, uint32_t slots) : name_(std::move(name)), slots_(slots) { Restart(); }

  // The process dies with all its ranks and everything that it kept, and starts anew.
  void Restart() {
    Break();
    instance_ = name_ + "/" + std::to_string(++starts_);
    ranks.clear();
    unacknowledged_.clear();
    history_.clear();
    newest_.clear();
    next_sequence_ = 1;
    lease_end_ms_ = 0;
    draining = false;
  }

  // ---- the stream
  void Connect(int64_t now_ms) {
    Break();
    connected = true;
    register_sent_ms_ = now_ms;
    v1::WorkerMessage message;
    v1::Register& self = *message.mutable_register_();
    self.set_worker(name_);
    self.set_instance(instance_);
    for (uint32_t slot = 0; slot < slots_; ++slot) self.add_slots()->set_index(slot);
    std::set<RankKey> running;
    for (const auto& [key, rank] : ranks) running.insert(key);
    for (const v1::Report& report : unacknowledged_) {
      if (report.has_exited()) running.insert(KeyOf(report.rank()));
    }
    for (const RankKey& key : running) *self.add_running() = RefOf(key);
    to_coordinator.push_back(std::move(message));
  }
  // What is under way in both directions is lost.
  void Break() {
    connected = registered_ = false;
    to_coordinator.clear();
    from_coordinator.clear();
    heartbeats_.clear();
  }
  void Heartbeat(int64_t now_ms) {
    if (!registered_) return;
    v1::WorkerMessage message;
    message.mutable_heartbeat()->set_sequence(++heartbeat_);
    heartbeats_[heartbeat_] = now_ms;
    to_coordinator.push_back(std::move(message));
  }
  void Drain() {
    draining = true;
    for (auto& [key, rank] : ranks) rank.told_to_stop = true;
    if (registered_) AnnounceDrain();
  }
  // A report that it sent before, once more.
  void Repeat(size_t which) {
    if (registered_ && !history_.empty()) SendReport(history_[which % history_.size()]);
  }

  // False when a rank would have been started in a slot that holds another one.
  bool Handle(const v1::CoordinatorMessage& message) {
    if (message.has_registered()) {
      registered_ = true;
      lease_ms_ = message.registered().lease_ms();
      lease_end_ms_ = register_sent_ms_ + lease_ms_;
      for (const v1::Report& report : unacknowledged_) SendReport(report);
      if (draining) AnnounceDrain();
    } else if (message.has_heartbeat_ack()) {
      if (const auto sent = heartbeats_.find(message.heartbeat_ack().sequence()); sent != heartbeats_.end())
        lease_end_ms_ = std::max(lease_end_ms_, sent->second + lease_ms_);
    } else if (message.has_report_ack()) {
      while (!unacknowledged_.empty() && unacknowledged_.front().sequence() <= message.report_ack().sequence())
        unacknowledged_.pop_front();
    } else if (message.has_stop()) {
      Stop(message.stop().job(), message.stop().attempt());
    } else if (message.has_drain()) {
      Drain();
    } else if (message.has_launch()) {
      return Launch(message.launch());
    }
    return true;
  }

  // False when its own lease has run out: it ended its ranks and its stream, and will connect anew.
  bool KeepsLease(int64_t now_ms) {
    if (lease_end_ms_ == 0 || now_ms < lease_end_ms_) return true;
    while (!ranks.empty()) End(ranks.begin()->first, Stopped());
    Break();
    lease_end_ms_ = 0;
    return false;
  }

  // ---- the ranks
  void Say(const RankKey& key, v1::Report report) {
    *report.mutable_rank() = RefOf(key);
    report.set_sequence(next_sequence_++);
    unacknowledged_.push_back(report);
    history_.push_back(report);
    if (registered_) SendReport(report);
  }
  void End(const RankKey& key, v1::RankExited exited) {
    exited.mutable_exit()->set_rank(key.rank);
    exited.mutable_exit()->set_worker(name_);
    v1::Report report;
    *report.mutable_exited() = std::move(exited);
    Say(key, std::move(report));
    ranks.erase(key);  // last: the key may be the map's own
  }
  static v1::RankExited Stopped() {
    v1::RankExited exited;
    exited.mutable_exit()->set_exit_code(3);
    exited.set_stopped(true);
    return exited;
  }

  const std::string& name() const { return name_; }
  // Nothing is left to do before the process of a drained daemon ends.
  bool idle() const { return ranks.empty() && unacknowledged_.empty(); }

  bool connected = false, draining = false;
  std::deque<v1::WorkerMessage> to_coordinator;
  std::deque<v1::CoordinatorMessage> from_coordinator;
  std::map<RankKey, Rank> ranks;  // processes

 private:
  static RankKey KeyOf(const v1::RankRef& ref) { return {ref.job(), ref.attempt(), ref.rank()}; }
  static v1::RankRef RefOf(const RankKey& key) {
    v1::RankRef ref;
    ref.set_job(key.job);
    ref.set_attempt(key.attempt);
    ref.set_rank(key.rank);
    return ref;
  }

  void AnnounceDrain() {
    v1::WorkerMessage message;
    message.set_draining(true);
    to_coordinator.push_back(std::move(message));
  }
  void SendReport(const v1::Report& report) { *to_coordinator.emplace_back().mutable_report() = report; }

  bool Launch(const v1::Launch& launch) {
    auto& [newest, started] = newest_[launch.job()];
    if (launch.attempt() < newest) return true;
    if (launch.attempt() > newest) {
      newest = launch.attempt();
      started.clear();
    }
    bool free = true;
    for (const v1::Placement& placement : launch.placements()) {
      const RankKey key{launch.job(), launch.attempt(), placement.rank()};
      if (!started.insert(key.rank).second) continue;
      for (const auto& [other, rank] : ranks) free &= rank.slot != placement.slot();
      ranks[key] = {.slot = placement.slot(), .step = launch.resume_path().empty() ? 0 : std::stoull(launch.resume_path())};
      if (draining) End(key, Stopped());
    }
    return free;
  }
  void Stop(const std::string& job, uint32_t attempt) {
    for (auto& [key, rank] : ranks) rank.told_to_stop |= key.job == job && key.attempt == attempt;
  }

  const std::string name_;
  const uint32_t slots_;
  std::string instance_;
  int starts_ = 0;
  bool registered_ = false;
  int64_t register_sent_ms_ = 0, lease_ms_ = 0, lease_end_ms_ = 0;  // lease_end_ms_ 0: it has none
  uint64_t heartbeat_ = 0, next_sequence_ = 1;
  std::map<uint64_t, int64_t> heartbeats_;  // when each was sent
  std::deque<v1::Report> unacknowledged_;
  std::vector<v1::Report> history_;
  std::map<std::string, std::pair<uint32_t, std::set<uint32_t>>> newest_;  // attempt and its ranks, by job
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_SERVER_STATE_DAEMON_MODEL_H_
