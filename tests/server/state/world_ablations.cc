// What befalls ablations in the world of the simulation, and what they promise.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/spec/ablation.h"
#include "common/spec/names.h"
#include "tests/server/state/world.h"

namespace polymoe {
namespace {

constexpr size_t kMostAblations = 2;

}  // namespace

void World::SubmitAblation() {
  if (cluster_->ablations().size() == kMostAblations) return;
  const std::string name = absl::StrCat("abl", cluster_->ablations().size());
  const uint64_t ranks = 1 + Random(2);
  v1::SubmitAblationRequest request;
  request.set_request_id("request of " + name);
  const auto file = ParseAblationFile(
      absl::StrCat(
          "apiVersion: polymoe/v1\nkind: Ablation\nmetadata: {name: ", name, "}\nspec:\n  base:\n",
          "    model: {layers: 1, hidden: 8, heads: 1, ffn: 8, experts: 2, topK: 1, vocab: 257}\n    data: {train: /d}\n",
          "    train: {globalBatch: 60, microBatch: 1}\n    resources: {ranks: ", ranks, OneIn(2) ? ", minRanks: 1}\n" : "}\n",
          "    restart: {maxFailures: ", Random(3), ", maxWorkerLosses: ", 1 + Random(5), ", backoffSeconds: 0.5}\n",
          "  arms: [{name: a, set: {model.activation.kind: relu}}, {name: b, set: {model.activation.kind: gelu}}]\n",
          "  seeds: [1, 2]\n  budget: {tokens: 60", OneIn(4) ? "}\n" : absl::StrCat(", parallelSlots: ", ranks + Random(3), "}\n")),
      "ablation.yaml");
  POLYMOE_CHECK(file.ok(), "%s", file.status().ToString().c_str());
  *request.mutable_file() = *file;
  Expect(cluster_->SubmitAblation(request, NewId, now_ms_).ok(), "a new ablation is taken");
  Expect(cluster_->SubmitAblation(request, NewId, now_ms_)->existed(), "and once only");
}

void World::DisturbAblation() {
  const std::string id = absl::StrCat("abl", Random(kMostAblations), "-x");
  const auto it = cluster_->ablations().find(id);
  if (it == cluster_->ablations().end()) return;
  const v1::Ablation before = it->second;
  const bool over = IsFinal(before.state()) || before.cancel_requested();
  switch (Random(8)) {
    case 0:
    case 1:
    case 2:
      Expect(cluster_->PauseAblation(id).ok() == !over, "what is not over can be paused: " + id);
      break;
    case 3:
    case 4:
    case 5:
      Expect(cluster_->ResumeAblation(id).ok() == !over, "what is not over can be resumed: " + id);
      break;
    case 6:
      if (OneIn(4)) Expect(cluster_->CancelAblation(id, now_ms_).ok(), "an ablation can be cancelled: " + id);
      if (OneIn(2)) cluster_->StopRun(before.runs(static_cast<int>(Random(before.runs_size()))).job(), "a rule says so", now_ms_);
      break;
    case 7: {
      v1::AddArmRequest request;
      request.set_ablation(id);
      request.mutable_arm()->set_name("late");
      (*request.mutable_arm()->mutable_set())["model.activation.kind"] = "swiglu";
      const bool known = before.file().spec().arms_size() == 3;
      Expect(cluster_->AddArm(request, NewId, now_ms_).ok() == (known || !before.cancel_requested()), "an arm can be added: " + id);
      break;
    }
  }
}

void World::ResumeAblations() {
  for (const auto& [id, ablation] : committed_ablations_) {
    if (cluster_->ablations().at(id).state() == v1::ABLATION_STATE_PAUSED && !cluster_->ablations().at(id).cancel_requested())
      Expect(cluster_->ResumeAblation(id).ok(), "a paused ablation can be resumed: " + id);
  }
}

void World::CheckAblations(const std::map<std::string, v1::Job>& before) {
  for (const auto& [id, ablation] : cluster_->ablations()) {
    uint64_t slots = 0;
    bool over = true;
    for (const v1::AblationRun& run : ablation.runs()) {
      const v1::Job& job = cluster_->jobs().at(run.job());
      over &= IsFinal(job.state());
      const bool live = !job.attempts().empty() && job.attempts().rbegin()->ended_ms() == 0;
      if (live) slots += job.attempts().rbegin()->placements_size();
      const auto known = before.find(job.id());
      Expect(!job.held() || known == before.end() || job.attempts_size() == known->second.attempts_size(),
             "no held run starts: " + job.id());
      Expect(!run.stopped().empty() ? job.cancel_requested() : true, "a run that a rule stops ends: " + job.id());
    }
    const v1::AblationBudget& budget = ablation.file().spec().budget();
    Expect(!budget.has_parallel_slots() || slots <= budget.parallel_slots(), "parallel slots are kept: " + id);
    Expect(IsFinal(ablation.state()) == over, "an ablation is over when its runs are: " + id);
    Expect((ablation.finished_ms() != 0) == over, "and has a time then: " + id);
    if (over) happened_.insert(v1::AblationState_Name(ablation.state()));
  }
}

}  // namespace polymoe
