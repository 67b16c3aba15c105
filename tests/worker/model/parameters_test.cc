#include "worker/model/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/worker/model/tiny_model.h"

namespace polymoe {
namespace {

std::set<std::string> Names(const ModelConfig& config) {
  std::set<std::string> names;
  const ParameterTable table(config);
  for (const Parameter& p : table.parameters()) names.insert(p.name);
  return names;
}

TEST(Parameters, NamesAreThoseOfOlmoeForCausalLM) {
  const auto names = Names(TinyConfig(ActivationKind::kSwiglu, true));
  EXPECT_EQ(names.size(), 3u + 2 * (8 + 1 + 4 * 3));
  for (const char* name :
       {"model.embed_tokens.weight", "model.layers.1.input_layernorm.weight", "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.mlp.gate.weight", "model.layers.1.mlp.experts.3.gate_proj.weight",
        "model.layers.1.mlp.experts.3.down_proj.weight", "model.norm.weight", "lm_head.weight"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(Parameters, NamesAreThoseOfLlamaForCausalLM) {
  const auto names = Names(TinyConfig(ActivationKind::kSwiglu, false));
  EXPECT_EQ(names.size(), 3u + 2 * 9);
  EXPECT_TRUE(names.contains("model.layers.0.mlp.gate_proj.weight"));
  EXPECT_FALSE(names.contains("model.layers.0.self_attn.q_norm.weight"));
}

// What one product reads as one matrix, or one for each expert.
TEST(Parameters, WeightsOfAProductLieOneAfterAnother) {
  for (const bool moe : {true, false}) {
    const ModelConfig config = TinyConfig(ActivationKind::kSwiglu, moe);
    const ParameterTable table(config);
    std::map<std::string, int64_t> offsets;
    for (const Parameter& p : table.parameters()) offsets[p.name] = p.offset;
    const int64_t d = config.hidden, f = config.ffn;
    for (int i = 0; i < config.layers; ++i) {
      const std::string layer = absl::StrCat("model.layers.", i, ".");
      const LayerOffsets& at = table.layer(i);
      EXPECT_EQ(offsets.at(layer + "self_attn.q_proj.weight"), at.qkv);
      EXPECT_EQ(offsets.at(layer + "self_attn.k_proj.weight"), at.qkv + d * d);
      EXPECT_EQ(offsets.at(layer + "self_attn.v_proj.weight"), at.qkv + 2 * d * d);
      for (int e = 0; e < config.experts; ++e) {
        const std::string expert = moe ? absl::StrCat(layer, "mlp.experts.", e, ".") : layer + "mlp.";
        EXPECT_EQ(offsets.at(expert + "gate_proj.weight"), at.up + e * 2 * f * d);
        EXPECT_EQ(offsets.at(expert + "up_proj.weight"), at.up + (e * 2 + 1) * f * d);
        EXPECT_EQ(offsets.at(expert + "down_proj.weight"), at.down + e * d * f);
      }
    }
  }
}

// What products read, and what belongs to experts, is in sections of that kind; the sections are the whole table.
TEST(Parameters, SectionsAreTheTableAndAreOfOneKind) {
  for (const bool moe : {true, false}) {
    for (const bool per_expert : {false, true}) {
      ModelConfig config = TinyConfig(ActivationKind::kPolyNorm, moe);
      config.coefficients_per_expert = per_expert;
      const ParameterTable table(config, {0, moe ? config.experts / 2 : 1});
      int64_t end = 0;
      for (const Section& section : table.sections()) {
        EXPECT_EQ(section.begin, end);
        EXPECT_GT(section.size(), 0);
        end = section.end;
        for (const Parameter& p : table.parameters()) {
          if (p.offset < section.begin || p.offset >= section.end) continue;
          EXPECT_LE(p.offset + p.size, section.end) << p.name << " is cut";
          EXPECT_EQ(p.name.find(".experts.") != std::string::npos, section.experts) << p.name;
          EXPECT_EQ(p.init == Init::kNormal && p.name != "model.embed_tokens.weight", section.product) << p.name;
        }
      }
      EXPECT_EQ(end, table.total());
    }
  }
}

TEST(Parameters, AShardHasTheWholeModelsTensorsOfItsExperts) {
  const ModelConfig config = TinyConfig(ActivationKind::kSwiglu, true);
  const ParameterTable whole(config);
  std::vector<float> all(whole.total());
  whole.Initialize(7, config, all.data());
  std::map<std::string, const float*> tensors;
  for (const Parameter& p : whole.parameters()) tensors[p.name] = all.data() + p.offset;
  std::set<std::string> seen;
  for (int rank = 0; rank < 2; ++rank) {
    const ParameterTable part(config, ShardExperts(config, rank, 2));
    std::vector<float> values(part.total());
    part.Initialize(7, config, values.data());
    for (const Parameter& p : part.parameters()) {
      seen.insert(p.name);
      EXPECT_TRUE(std::equal(values.begin() + p.offset, values.begin() + p.offset + p.size, tensors.at(p.name))) << p.name;
    }
  }
  EXPECT_EQ(seen.size(), whole.parameters().size());
}

TEST(Parameters, OnlyCoefficientsEscapeDecay) {
  ModelConfig config = TinyConfig(ActivationKind::kPolyPRelu, true);
  config.coefficients_per_expert = true;
  int coefficients = 0;
  const ParameterTable table(config);
  for (const Parameter& p : table.parameters()) {
    const bool is_coefficient = p.name.ends_with("act.coef");
    EXPECT_EQ(p.decay, !is_coefficient) << p.name;
    coefficients += is_coefficient;
  }
  EXPECT_EQ(coefficients, 2 * 4);
}

TEST(Parameters, ArmsShareWhatTheyHaveInCommon) {
  // The same seed gives the same embedding and attention whatever the activation is.
  const ModelConfig a = TinyConfig(ActivationKind::kSwiglu, true), b = TinyConfig(ActivationKind::kPolyNorm, true);
  const ParameterTable ta(a), tb(b);
  std::vector<float> va(ta.total()), vb(tb.total());
  ta.Initialize(3, a, va.data());
  tb.Initialize(3, b, vb.data());
  for (int64_t i = 0; i < 32 * 32; ++i) {
    ASSERT_EQ(va[ta.layer(1).qkv + i], vb[tb.layer(1).qkv + i]);
    ASSERT_EQ(va[ta.lm_head() + i], vb[tb.lm_head() + i]);
  }
  tb.Initialize(4, b, vb.data());
  EXPECT_NE(va[ta.lm_head()], vb[tb.lm_head()]);
}

TEST(Parameters, CoefficientsStartAtOneOverTheOrder) {
  for (const auto kind : {ActivationKind::kPolyRelu, ActivationKind::kPolyNorm, ActivationKind::kPolyPRelu}) {
    for (int order = 1; order <= 4; ++order) {
      ModelConfig config = TinyConfig(kind, true);
      config.activation.order = order;
      const ParameterTable table(config);
      std::vector<float> values(table.total());
      table.Initialize(1, config, values.data());
      std::vector<float> expected(order, 1.0f / static_cast<float>(order));
      expected.push_back(0);                                              // the bias
      if (kind == ActivationKind::kPolyPRelu) expected.push_back(0.25f);  // the slope
      const float* coefficients = values.data() + table.layer(1).coefficients;
      EXPECT_EQ(std::vector<float>(coefficients, coefficients + expected.size()), expected) << order;
    }
  }
}

TEST(Parameters, NormalTruncatedAtThreeSigma) {
  ModelConfig config = TinyConfig(ActivationKind::kRelu, false);
  config.vocab = 2000;
  const ParameterTable table(config);
  std::vector<float> values(table.total());
  table.Initialize(1, config, values.data());
  double sum = 0, squares = 0;
  const int n = 2000 * 32;
  for (int i = 0; i < n; ++i) {
    const double z = values[table.embedding() + i] / 0.2;
    ASSERT_LE(std::abs(z), 3.0 + 1e-6);
    sum += z;
    squares += z * z;
  }
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));                 // five standard errors
  EXPECT_NEAR(squares / n, 0.9733, 5 * std::sqrt(2.0 / n));  // variance of a normal truncated at 3
}

}  // namespace
}  // namespace polymoe
