#include "common/spec/model_shape.h"

#include <gtest/gtest.h>

#include "polymoe/v1/job_spec.pb.h"

#include "common/spec/rules.h"

namespace polymoe {
namespace {

// OLMoE-1B-7B with PolyNorm experts (research: 6,919,161,920 parameters in all, 1,282,017,344 active).
v1::ModelSpec OlmoePolyNorm() {
  v1::ModelSpec model;
  model.set_layers(16);
  model.set_hidden(2048);
  model.set_heads(16);
  model.set_ffn(1536);
  model.set_experts(64);
  model.set_top_k(8);
  model.set_vocab(50304);
  model.set_match(v1::WIDTH_MATCH_PARAMETERS);
  model.mutable_activation()->set_kind(v1::ACTIVATION_KIND_POLYNORM);
  ApplyDefaults(&model);
  return model;
}

TEST(ModelShape, MatchesThePublishedMoE) {
  const ModelShape shape = ComputeShape(OlmoePolyNorm(), 4096);
  EXPECT_EQ(shape.total, 6919161920u);
  EXPECT_EQ(shape.active, 1282017344u);
}

TEST(ModelShape, EveryActivationGetsTheSameCount) {
  v1::ModelSpec model = OlmoePolyNorm();
  const uint64_t polynorm = ComputeShape(model, 4096).total;
  model.mutable_activation()->set_kind(v1::ACTIVATION_KIND_SWIGLU);
  EXPECT_EQ(FfnWidth(model), 1024u);
  EXPECT_EQ(ComputeShape(model, 4096).total, polynorm - 64);  // no coefficients
  model.set_match(v1::WIDTH_MATCH_NONE);
  EXPECT_EQ(FfnWidth(model), 1536u);
}

TEST(ModelShape, WidthRoundsToTheNearest) {
  v1::ModelSpec model = OlmoePolyNorm();
  model.mutable_activation()->set_kind(v1::ACTIVATION_KIND_SWIGLU);
  for (const auto& [ffn, width] : {std::pair(3u, 2u), {4u, 3u}, {5u, 3u}, {8256u, 5504u}}) {
    model.set_ffn(ffn);
    EXPECT_EQ(FfnWidth(model), width) << ffn;
  }
}

// The published dense count, 1,345,423,360, is without the coefficients.
TEST(ModelShape, DenseMatchesThePublishedModel) {
  v1::ModelSpec model = OlmoePolyNorm();
  model.set_architecture(v1::ARCHITECTURE_DENSE);
  model.set_layers(24);
  model.set_ffn(8256);
  model.set_vocab(32000);
  EXPECT_EQ(ComputeShape(model, 4096).total, 1345423360u + 24 * 4);
  EXPECT_EQ(ComputeShape(model, 4096).active, ComputeShape(model, 4096).total);
}

TEST(ModelShape, CoefficientsPerExpert) {
  v1::ModelSpec model = OlmoePolyNorm();
  const ModelShape per_layer = ComputeShape(model, 4096);
  model.mutable_activation()->set_coefficients(v1::COEFFICIENT_SCOPE_EXPERT);
  model.mutable_activation()->set_kind(v1::ACTIVATION_KIND_POLYPRELU);
  const ModelShape per_expert = ComputeShape(model, 4096);
  EXPECT_EQ(per_expert.total - per_layer.total, 16u * (64 * 5 - 4));
  EXPECT_EQ(per_expert.active - per_layer.active, 16u * (8 * 5 - 4));
}

TEST(ModelShape, Flops) {
  // 6 x 1.179e9 plus causal attention of 0.81e9 (moe-training figures for OLMoE-1B-7B at 4096).
  EXPECT_NEAR(ComputeShape(OlmoePolyNorm(), 4096).flops_per_token, 7.07e9 + 0.81e9, 0.01e9);
}

}  // namespace
}  // namespace polymoe
