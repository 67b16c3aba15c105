// The cluster's tests, with the words of ablations.
#ifndef POLYMOE_TESTS_SERVER_STATE_ABLATION_HARNESS_H_
#define POLYMOE_TESTS_SERVER_STATE_ABLATION_HARNESS_H_

#include <string>
#include <vector>

#include "common/check.h"
#include "common/spec/ablation.h"
#include "tests/server/state/cluster_harness.h"

namespace polymoe {

// "study", arms a and b, seeds 1 and 2, jobs of one rank that are tried again once.
inline v1::AblationFile AblationOf(const std::string& more = "") {
  auto file = ParseAblationFile(
      absl::StrCat("apiVersion: polymoe/v1\nkind: Ablation\nmetadata: {name: study}\nspec:\n  base:\n"
                   "    model: {layers: 1, hidden: 8, heads: 1, ffn: 8, experts: 2, topK: 1, vocab: 257}\n"
                   "    data: {train: /d, sequenceLength: 8}\n    validation: {sets: [{name: v, path: /v}]}\n"
                   "    restart: {maxFailures: 1, backoffSeconds: 1}\n"
                   "  arms:\n  - {name: a, set: {model.activation.kind: relu}}\n  - {name: b, set: {model.activation.kind: gelu}}\n"
                   "  seeds: [1, 2]\n",
                   more.empty() ? "  budget: {tokens: 1k}\n" : more),
      "ablation.yaml");
  POLYMOE_CHECK(file.ok(), "%s", file.status().ToString().c_str());
  return *std::move(file);
}

inline v1::SubmitAblationRequest AblationRequest(const std::string& request_id, const v1::AblationFile& file) {
  v1::SubmitAblationRequest request;
  request.set_request_id(request_id);
  *request.mutable_file() = file;
  return request;
}

class AblationTest : public ClusterTest {
 protected:
  // The id is study-1, those of the jobs NAME-1, as in study-a-s1-1.
  static std::string NewId(const std::string& name) { return name + "-1"; }
  void SubmitStudy(const std::string& more = "") {
    const auto response = cluster_->SubmitAblation(AblationRequest("r", AblationOf(more)), NewId, now_ms_);
    POLYMOE_CHECK(response.ok(), "%s", response.status().ToString().c_str());
  }
  const v1::Ablation& Study() const { return cluster_->ablations().at("study-1"); }
  absl::StatusOr<v1::Ablation> AddArm(const std::string& name, const std::string& kind) {
    v1::AddArmRequest request;
    request.set_ablation("study-1");
    request.mutable_arm()->set_name(name);
    (*request.mutable_arm()->mutable_set())["model.activation.kind"] = kind;
    return cluster_->AddArm(request, NewId, now_ms_);
  }

  // Jobs of its runs in one of these states, in the order of the runs, as "a-s1".
  std::vector<std::string> Runs(const std::vector<v1::JobState>& states) const {
    std::vector<std::string> runs;
    for (const v1::AblationRun& run : Study().runs()) {
      if (std::find(states.begin(), states.end(), Job(run.job()).state()) != states.end())
        runs.push_back(absl::StrCat(run.arm(), "-s", run.seed()));
    }
    return runs;
  }
  std::vector<std::string> OnSlots() const { return Runs({v1::JOB_STATE_STARTING, v1::JOB_STATE_RUNNING}); }
  std::vector<std::string> Held() const {
    std::vector<std::string> runs;
    for (const v1::AblationRun& run : Study().runs()) {
      if (Job(run.job()).held()) runs.push_back(absl::StrCat(run.arm(), "-s", run.seed()));
    }
    return runs;
  }
  static std::string IdOf(const std::string& run) { return absl::StrCat("study-", run, "-1"); }
  // The newest attempt of a run trains to its end.
  void Complete(const std::string& run) { End(run, 0); }
  void End(const std::string& run, int code) {
    const v1::Attempt attempt = Newest(IdOf(run));
    for (const v1::Placement& placement : attempt.placements())
      Report(Exited(Ref(IdOf(run), attempt.number(), placement.rank()), code), placement.worker());
  }
  void Stop(const std::string& run) {
    const v1::Attempt attempt = Newest(IdOf(run));
    for (const v1::Placement& placement : attempt.placements())
      Report(Stopped(Ref(IdOf(run), attempt.number(), placement.rank())), placement.worker());
  }
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_SERVER_STATE_ABLATION_HARNESS_H_
