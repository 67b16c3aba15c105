// Every activation in both architectures, at each order and with both scopes of coefficients, trains; and the counts that users are
// shown before they start are those of the tensors that there are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"

#include "common/spec/model_shape.h"
#include "tests/worker/train/tiny_training.h"

namespace polymoe {
namespace {

bool IsPoly(v1::ActivationKind kind) {
  return kind >= v1::ACTIVATION_KIND_POLYRELU;
}

// All that a job file can ask for.
std::vector<v1::ModelSpec> Grid(const v1::ModelSpec& base) {
  std::vector<v1::ModelSpec> grid;
  for (int kind = v1::ACTIVATION_KIND_RELU; kind <= v1::ACTIVATION_KIND_POLYRELUNORM; ++kind) {
    for (const auto architecture : {v1::ARCHITECTURE_MOE, v1::ARCHITECTURE_DENSE}) {
      for (uint32_t order = 1; order <= 4; ++order) {
        for (const auto scope : {v1::COEFFICIENT_SCOPE_LAYER, v1::COEFFICIENT_SCOPE_EXPERT}) {
          const auto k = static_cast<v1::ActivationKind>(kind);
          if (architecture == v1::ARCHITECTURE_DENSE && scope == v1::COEFFICIENT_SCOPE_EXPERT) continue;
          if (!IsPoly(k) && order != 3) continue;
          v1::ModelSpec model = base;
          model.set_architecture(architecture);
          model.mutable_activation()->set_kind(k);
          model.mutable_activation()->set_order(order);
          model.mutable_activation()->set_coefficients(scope);
          grid.push_back(model);
        }
      }
    }
  }
  return grid;
}

// The group of polyctl params that a tensor belongs to.
std::string GroupOf(const std::string& tensor) {
  for (const auto& [part, group] : std::vector<std::pair<std::string, std::string>>{{"embed_tokens", "embedding"},
                                                                                    {"norm", "norms"},
                                                                                    {"self_attn", "attention"},
                                                                                    {"mlp.gate.", "router"},
                                                                                    {"act.coef", "coefficients"},
                                                                                    {"mlp.", "experts"},
                                                                                    {"lm_head", "head"}}) {
    if (absl::StrContains(tensor, part)) return group;
  }
  return "none";
}

TEST_F(TinyTraining, EveryModelOfTheGridTrains) {
  v1::JobFile file = Job(3);
  for (const v1::ModelSpec& model : Grid(file.spec().model())) {
    SCOPED_TRACE(model.ShortDebugString());
    *file.mutable_spec()->mutable_model() = model;
    ASSERT_TRUE(CompleteJobFile(&file).ok());
    const TrainingRun run = TrainToEnd(file);
    ASSERT_EQ(run.state.updates, 3u) << "a step was skipped";
    const auto loss = run.Series("loss");
    EXPECT_NEAR(loss.at(1), std::log(kVocab), 0.1);
    EXPECT_LT(loss.at(3), loss.at(1));
    EXPECT_TRUE(std::all_of(run.parameters.begin(), run.parameters.end(), [](float p) { return std::isfinite(p); }));
  }
}

TEST_F(TinyTraining, CountsOfParamsAreThoseOfTheTensors) {
  v1::JobFile file = Job(1);
  for (const auto match : {v1::WIDTH_MATCH_NONE, v1::WIDTH_MATCH_PARAMETERS}) {
    for (v1::ModelSpec model : Grid(file.spec().model())) {
      SCOPED_TRACE(model.ShortDebugString());
      model.set_match(match);
      *file.mutable_spec()->mutable_model() = model;
      const ParameterTable table(ToModelConfig(file.spec()));
      std::map<std::string, uint64_t> tensors;
      for (const Parameter& p : table.parameters()) tensors[GroupOf(p.name)] += p.size;
      const ModelShape shape = ComputeShape(model, kLength);
      EXPECT_EQ(shape.total, static_cast<uint64_t>(table.total()));
      for (const ParameterGroup& group : shape.groups) EXPECT_EQ(group.total, tensors[group.name]) << group.name;
    }
  }
}

// What may be left, beside the coefficients, is the rounding of the gated width: one row of one matrix an expert.
TEST_F(TinyTraining, MatchParametersGivesEveryActivationTheSameCount) {
  v1::ModelSpec base = Job(1).spec().model();
  base.set_match(v1::WIDTH_MATCH_PARAMETERS);
  for (const uint32_t ffn : {23, 24, 25, 96, 1000}) {
    base.set_ffn(ffn);
    for (const v1::ModelSpec& model : Grid(base)) {
      SCOPED_TRACE(model.ShortDebugString());
      const uint64_t experts = model.architecture() == v1::ARCHITECTURE_MOE ? model.experts() : 1;
      const double plain = static_cast<double>(model.layers() * experts * 2 * model.hidden() * ffn);
      for (const ParameterGroup& group : ComputeShape(model, kLength).groups) {
        if (group.name != "experts") continue;
        EXPECT_LE(std::abs(static_cast<double>(group.total) - plain),
                  static_cast<double>(model.layers() * experts * model.hidden()));
      }
    }
  }
}

}  // namespace
}  // namespace polymoe
