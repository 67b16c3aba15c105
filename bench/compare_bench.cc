// How long CompareAblation takes: 50 arms x 4 seeds in a store of its own, each of 2000 steps and 40 validations of 6 sets.
//
//   compare_bench [--store URL] [--runs N] [--steps N]
//
// Without --store: SQLite, in a folder that goes with it. "cold" reads every run's points, as after a restart; "warm" has them.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/spec/ablation.h"
#include "server/curves/curve_book.h"
#include "server/services/ablation_comparison.h"
#include "server/state/view.h"
#include "server/store/store.h"

namespace polymoe {
namespace {

constexpr int kSeeds = 4, kSets = 6, kValidations = 40, kStepTokens = 1000;

struct Flags {
  std::string store;
  int runs = 200, steps = 2000;
};

v1::Ablation MakeAblation(const Flags& flags, View& view) {
  std::string arms, seeds, sets;
  for (int arm = 0; arm * kSeeds < flags.runs; ++arm)
    absl::StrAppend(&arms, "  - {name: a", arm, ", set: {train.learningRate: \"", 0.001 * (arm + 1), "\"}}\n");
  for (int seed = 1; seed <= kSeeds; ++seed) absl::StrAppend(&seeds, seed == 1 ? "" : ", ", seed);
  for (int set = 0; set < kSets; ++set) absl::StrAppend(&sets, set == 0 ? "" : ", ", "{name: s", set, ", path: /s", set, "}");
  const auto file = ParseAblationFile(
      absl::StrCat(
          "apiVersion: polymoe/v1\nkind: Ablation\nmetadata: {name: bench}\nspec:\n  base:\n"
          "    model: {layers: 2, hidden: 64, heads: 2, ffn: 64, experts: 4, topK: 1, vocab: 257, activation: {kind: relu}}\n"
          "    data: {train: /d, sequenceLength: 100}\n    train: {globalBatch: 10, microBatch: 1}\n"
          "    validation: {sets: [",
          sets, "]}\n  arms:\n", arms, "  seeds: [", seeds, "]\n  budget: {tokens: ", flags.steps * kStepTokens, "}\n"),
      "bench.yaml");
  POLYMOE_CHECK(file.ok(), "%s", file.status().ToString().c_str());
  const auto planned = PlanRuns(*file);
  POLYMOE_CHECK(planned.ok(), "%s", planned.status().ToString().c_str());
  v1::Ablation ablation;
  ablation.set_id("bench-1");
  *ablation.mutable_file() = *file;
  for (const PlannedRun& plan : *planned) {
    const auto job = std::make_shared<v1::Job>();
    job->set_id(absl::StrCat("bench-", plan.arm, "-s", plan.seed, "-abcdef"));
    *job->mutable_file() = plan.job;
    v1::Attempt& attempt = *job->add_attempts();
    attempt.set_number(1);
    attempt.add_started_ranks(0);
    job->mutable_progress()->set_tokens(uint64_t{kStepTokens} * flags.steps);
    v1::AblationRun& run = *ablation.add_runs();
    run.set_arm(plan.arm);
    run.set_seed(plan.seed);
    run.set_job(job->id());
    view.jobs[job->id()] = job;
  }
  view.ablations[ablation.id()] = std::make_shared<const v1::Ablation>(ablation);
  return ablation;
}

void Fill(const Flags& flags, const std::string& job, Store& store) {
  StoreBatch batch;
  const auto add = [&](const std::string& name, uint64_t step, double value) {
    batch.points.push_back({job, name, {.attempt = 1, .step = step, .tokens = step * kStepTokens, .time_ms = 0, .value = value}});
  };
  for (int step = 1; step <= flags.steps; ++step) {
    for (const char* name : {"loss", "grad_norm", "learning_rate", "tokens_per_second"}) add(name, step, 4.0 + 1.0 / step);
  }
  for (int v = 1; v <= kValidations; ++v) {
    for (int set = 0; set < kSets; ++set) {
      for (const char* kind : {"val_loss", "val_bpb"})
        add(absl::StrCat(kind, "/s", set), flags.steps * v / kValidations, 4.0 + 1.0 / v);
    }
  }
  const absl::Status status = store.Commit(batch);
  POLYMOE_CHECK(status.ok(), "%s", status.ToString().c_str());
}

void Measure(const char* what, CurveBook& book, const View& view, uint32_t grid, bool runs) {
  v1::CompareAblationRequest request;
  request.set_ablation("bench");
  request.set_grid(grid);
  request.set_runs(runs);
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t cpu_start = std::clock();
  const auto comparison = CompareAblation(book, view, request);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  const double cpu = 1000.0 * static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  POLYMOE_CHECK(comparison.ok(), "%s", comparison.status().ToString().c_str());
  std::printf("%-5s grid %3u%s %8.1f ms, %8.1f ms of CPU  (%d curves, %.2f MB answer)\n", what, grid, runs ? " + runs" : "       ",
              took.count(), cpu, comparison->curves_size(), static_cast<double>(comparison->ByteSizeLong()) / 1e6);
}

void Run(Flags flags) {
  std::string folder;
  if (flags.store.empty()) {
    folder = absl::StrCat(std::filesystem::temp_directory_path().string(), "/compare_bench-", getpid());
    std::filesystem::create_directories(folder);
    flags.store = absl::StrCat("sqlite:", folder, "/store.db");
  }
  {
    const auto store = OpenStore(flags.store);
    POLYMOE_CHECK(store.ok(), "%s", store.status().ToString().c_str());
    View view;
    const v1::Ablation ablation = MakeAblation(flags, view);
    for (const v1::AblationRun& run : ablation.runs()) Fill(flags, run.job(), **store);
    std::printf("%d runs of %d steps\n", ablation.runs_size(), flags.steps);
    CurveBook book(**store);
    Measure("cold", book, view, 10, false);
    Measure("warm", book, view, 10, false);
    Measure("warm", book, view, 100, true);
  }
  if (!folder.empty()) std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  polymoe::Flags flags;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    const bool known = name == "--store"  ? !(flags.store = value).empty()
                       : name == "--runs" ? absl::SimpleAtoi(value, &flags.runs)
                                          : name == "--steps" && absl::SimpleAtoi(value, &flags.steps);
    if (known) continue;
    std::fprintf(stderr, "usage: compare_bench [--store URL] [--runs N] [--steps N]\n");
    return 1;
  }
  polymoe::Run(flags);
}
