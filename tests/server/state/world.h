// A coordinator and its daemons with everything that can go wrong between them, driven by one seed. After each event it checks what
// must always hold; the first promise that was broken is kept.
#ifndef POLYMOE_TESTS_SERVER_STATE_WORLD_H_
#define POLYMOE_TESTS_SERVER_STATE_WORLD_H_

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "server/state/cluster.h"
#include "tests/server/state/daemon_model.h"

namespace polymoe {

class World {
 public:
  explicit World(uint64_t seed);

  // One random event.
  void Step();
  // Nothing fails any more, nothing is paused, and time goes on until every job and ablation is final. False when that takes longer than it may.
  bool Settle();

  const std::string& violation() const { return violation_; }
  // Committed jobs.
  const std::map<std::string, v1::Job>& jobs() const { return committed_; }
  // What happened to attempts and coordinators, to see that the seeds reach everything.
  const std::multiset<std::string>& happened() const { return happened_; }

 private:
  uint64_t Random(uint64_t below) { return std::uniform_int_distribution<uint64_t>(0, below - 1)(random_); }
  bool OneIn(uint64_t n) { return Random(n) == 0; }
  DaemonModel& AnyDaemon() { return daemons_[Random(daemons_.size())]; }

  void Submit();
  // Ids end with -x.
  static std::string NewId(const std::string& name) { return name + "-x"; }
  void SubmitAblation();
  // Paused, resumed, cancelled, given an arm, a run stopped.
  void DisturbAblation();
  void ResumeAblations();
  void Pass(int64_t ms);
  // The tick as the coordinator does it: place, commit, send. It may die before and behind the commit.
  void Tick(bool may_die);
  void RestartCoordinator();
  void ToCoordinator(DaemonModel& daemon, size_t count);
  void ToDaemon(DaemonModel& daemon, size_t count);
  void BreakStream(DaemonModel& daemon);
  void WatchLease(DaemonModel& daemon);
  void RestartDaemon(DaemonModel& daemon);
  // A rank goes on by one event. With `faults` it may fail or hang.
  void Advance(DaemonModel& daemon, const DaemonModel::RankKey& key, bool faults);
  // What it says when it goes on as it should.
  void Train(DaemonModel& daemon, const DaemonModel::RankKey& key);
  // What befell the ranks of this attempt, as their peers would see it.
  enum class Fate { kTrains, kStopsTogether, kHangs, kBroke };
  Fate& FateOf(const DaemonModel::RankKey& key) { return fates_[{key.job, key.attempt}]; }
  // All its ranks came up; none trains before that.
  bool IsWhole(const DaemonModel::RankKey& key) const;
  void ReceiveReport(const std::string& worker, const v1::Report& report);

  void Expect(bool holds, const std::string& promise);
  void CheckState();
  void CheckJob(const v1::Job& job);
  void CheckReasons();
  void CheckCharges(const v1::Job& job);
  // After a tick.
  void CheckAblations(const std::map<std::string, v1::Job>& before);
  void CheckResizes(const std::map<std::string, v1::Job>& before);
  uint32_t FreeSlots() const;
  void CheckCommit(const v1::Job& before, const v1::Job& after);
  void CheckProcesses();

  std::mt19937_64 random_;
  ClusterConfig config_;
  int64_t now_ms_ = 1'000'000;
  std::unique_ptr<Cluster> cluster_;
  std::map<std::string, v1::Job> committed_;
  std::map<std::string, v1::Ablation> committed_ablations_;
  std::map<std::string, std::string> requests_;  // by job or ablation
  std::vector<DaemonModel> daemons_;
  std::set<std::string> linked_;  // daemons whose stream this coordinator knows
  std::string violation_;
  std::multiset<std::string> happened_;
  // By job and attempt.
  std::map<std::pair<std::string, uint32_t>, Fate> fates_;
  std::map<std::pair<std::string, uint32_t>, std::set<uint32_t>> came_up_;  // ranks
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_SERVER_STATE_WORLD_H_
