// The plan against sums written out by hand for a small shape, and what each switch of a job changes in it.
#include "common/spec/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "polymoe/v1/job_spec.pb.h"

#include "common/spec/job_file.h"
#include "common/spec/model_shape.h"
#include "tests/common/spec/job_text.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

// kJobText with 64 tokens a sequence: N = 4 x 64 = 256 tokens, D = 32, H = 4, E = 4, K = 2, M = 512, F = U = 48, V = 257, 2 layers.
v1::JobSpec SmallMoe() {
  v1::JobSpec spec = ParseJobFile(kJobText, "job.yaml")->spec();
  spec.mutable_data()->set_sequence_length(64);
  return spec;
}

uint64_t Parameters(const v1::JobSpec& spec) {
  return ComputeShape(spec.model(), spec.data().sequence_length()).total;
}

std::map<std::string, uint64_t> Rows(const MemoryPlan& plan) {
  std::map<std::string, uint64_t> rows;
  for (const MemoryRow& row : plan.rows) rows[row.name] = row.bytes;
  return rows;
}

constexpr uint64_t kN = 256, kD = 32, kND = kN * kD, kM = 512, kMF = kM * 48;

// Per layer, without its input: floats or indices of 4 bytes, and elements of `s` bytes.
constexpr uint64_t InsideAMoeLayer(uint64_t s) {
  const uint64_t four = 2 * kN + 4 * kN + kND + 5 + 2 * kN + 4 * kN + kM + kN + 4 * kM + 4;
  return 4 * four + s * (8 * kND + 2 * kMF);
}

constexpr uint64_t MoeScratch(uint64_t s) {
  const uint64_t four = 3 * kND + 2 * kN + 64 * 8 + 256 * 257 + 4 * kN + kM;
  return 4 * four + s * (5 * kND + 2 * kMF + 256 * 257 + kM * kD + 4 * kN);
}

TEST(MemoryPlan, EffectiveRanksTakeTwoGramMatricesAThread) {
  v1::JobSpec spec = SmallMoe();
  const uint64_t without = PlanMemory(spec, 3).total;
  spec.mutable_metrics()->mutable_analyses()->set_effective_rank(true);
  const MemoryPlan plan = PlanMemory(spec, 3);
  EXPECT_EQ(Rows(plan).at("analyses"), 3 * 8 * 32 * (32 + 32 + 128));
  EXPECT_EQ(plan.total, without + Rows(plan).at("analyses"));
}

TEST(MemoryPlan, AMoeInFp32) {
  const v1::JobSpec spec = SmallMoe();
  const MemoryPlan plan = PlanMemory(spec, 3);
  const uint64_t p = Parameters(spec);
  EXPECT_EQ(Rows(plan), (std::map<std::string, uint64_t>{{"weights", 4 * p},
                                                         {"gradients", 4 * p},
                                                         {"moments", 8 * p},
                                                         {"checkpoint copy", 12 * p},
                                                         {"activations", 2 * (4 * kND + InsideAMoeLayer(4))},
                                                         {"scratch", MoeScratch(4)},
                                                         {"threads", 3 * kThreadBytes},
                                                         {"program", kProgramBytes}}));
  EXPECT_EQ(plan.parameters, 28 * p);
  EXPECT_EQ(plan.activations, Rows(plan)["activations"]);
  EXPECT_EQ(plan.scratch, Rows(plan)["scratch"]);
  EXPECT_EQ(plan.total, std::accumulate(plan.rows.begin(), plan.rows.end(), uint64_t{0},
                                        [](uint64_t sum, const MemoryRow& row) { return sum + row.bytes; }));
}

TEST(MemoryPlan, Bf16HalvesWhatGoesIntoProductsAndKeepsACopyOfTheWeights) {
  v1::JobSpec spec = SmallMoe();
  spec.mutable_train()->set_precision(v1::PRECISION_BF16);
  const MemoryPlan plan = PlanMemory(spec, 1);
  std::vector<std::string> names;
  for (const MemoryRow& row : plan.rows) names.push_back(row.name);
  EXPECT_THAT(names, ElementsAre("weights", "gradients", "moments", "bf16 copy", "checkpoint copy", "activations", "scratch",
                                 "threads", "program"));
  EXPECT_EQ(Rows(plan)["bf16 copy"], 2 * Parameters(spec));
  EXPECT_EQ(plan.parameters, 30 * Parameters(spec));
  EXPECT_EQ(plan.activations, 2 * (4 * kND + InsideAMoeLayer(2)));
  EXPECT_EQ(plan.scratch, MoeScratch(2) + 2 * kND) << "a gradient is rounded into a tensor of its own";
}

TEST(MemoryPlan, RecomputeKeepsTheInputOfEachLayerAndOneLayersInside) {
  v1::JobSpec spec = SmallMoe();
  const MemoryPlan kept = PlanMemory(spec, 1);
  spec.mutable_train()->set_recompute(true);
  const MemoryPlan computed_again = PlanMemory(spec, 1);
  EXPECT_EQ(computed_again.activations, 2 * 4 * kND + InsideAMoeLayer(4));
  EXPECT_EQ(computed_again.scratch, kept.scratch);
  EXPECT_EQ(kept.total - computed_again.total, kept.activations - computed_again.activations);
}

TEST(MemoryPlan, ADenseModelHasNoRouter) {
  v1::JobSpec spec = SmallMoe();
  spec.mutable_model()->set_architecture(v1::ARCHITECTURE_DENSE);  // M = N, whatever experts and topK say
  const MemoryPlan plan = PlanMemory(spec, 1);
  const uint64_t nf = kN * 48;
  EXPECT_EQ(plan.activations, 2 * (4 * (2 * kND + 2 * kN + 4 * kN + 2) + 4 * (8 * kND + 2 * nf)));
  EXPECT_EQ(plan.scratch, 4 * (3 * kND + 2 * kN + 64 * 8 + 256 * 257) + 4 * (5 * kND + 2 * nf + 256 * 257));
}

TEST(MemoryPlan, AGatedUpProjectionIsTwiceAsWide) {
  v1::JobSpec spec = SmallMoe();
  const MemoryPlan plain = PlanMemory(spec, 1);
  spec.mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_SWIGLU);
  const MemoryPlan gated = PlanMemory(spec, 1);
  EXPECT_EQ(gated.activations - plain.activations, 2 * 4 * kMF);
  EXPECT_EQ(gated.scratch - plain.scratch, 4 * kMF);
}

TEST(MemoryPlan, LogitsAreHeldForABlockOfRows) {
  v1::JobSpec spec = SmallMoe();
  const auto rows_held = [&](uint32_t micro_batch) {
    spec.mutable_train()->set_micro_batch(micro_batch);
    spec.mutable_model()->set_vocab(1001);
    const uint64_t more = PlanMemory(spec, 1).scratch;
    spec.mutable_model()->set_vocab(1000);
    return (more - PlanMemory(spec, 1).scratch) / (4 + 4);
  };
  EXPECT_EQ(rows_held(1), 64u);
  EXPECT_EQ(rows_held(8), kLogitRows);
  EXPECT_EQ(rows_held(16), kLogitRows);
}

TEST(MemoryPlan, SizesBeyondAllMemoryDoNotWrapAround) {
  v1::JobSpec spec = SmallMoe();
  spec.mutable_train()->set_micro_batch(~0u);
  spec.mutable_data()->set_sequence_length(1 << 20);
  spec.mutable_model()->set_hidden(1 << 16);
  EXPECT_EQ(PlanMemory(spec, 1).total, uint64_t{1} << 63);
  EXPECT_EQ(PlanMemory(spec, 1).activations, uint64_t{1} << 63);
}

}  // namespace
}  // namespace polymoe
