// Analyses of a run: what is reported is of the parameters at that step and of the sequences that the docs name, at the steps that the job
// asks for, and training does not notice.
#include "worker/train/analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/worker/train/tiny_training.h"
#include "worker/data/loader.h"
#include "worker/train/effective_rank.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

class Analyses : public TinyTraining {
 protected:
  Analyses() { Write("near", ChainTokens(43 * kLength + 1, 2)); }

  static v1::AnalysisSpec& SwitchOn(v1::JobFile& file, uint64_t every_steps) {
    v1::AnalysisSpec& spec = *file.mutable_spec()->mutable_metrics()->mutable_analyses();
    spec.set_effective_rank(true);
    spec.set_layer_cosine(true);
    spec.set_activation_moments(true);
    spec.set_every_tokens(every_steps * kStepTokens);
    return spec;
  }

  // All points of analyses, by name and step.
  static std::map<std::string, std::map<uint64_t, double>> Found(const TrainingRun& run) {
    std::map<std::string, std::map<uint64_t, double>> found;
    for (const v1::TrainerEvent& event : run.events) {
      for (const auto& [name, value] : event.points().values()) {
        if (name.starts_with("effective_rank/") || name.starts_with("layer_cosine/") || name.starts_with("act_")) {
          EXPECT_TRUE(found[name].emplace(event.points().step(), value).second) << name << " twice";
        }
      }
    }
    return found;
  }
  static std::vector<std::string> Names(const TrainingRun& run) {
    std::vector<std::string> names;
    for (const auto& [name, values] : Found(run)) names.push_back(name);
    return names;
  }
};

TEST_F(Analyses, HaveTheseNames) {
  v1::JobFile file = Job(1);
  EXPECT_THAT(Names(TrainToEnd(file)), ElementsAre());
  v1::AnalysisSpec& spec = SwitchOn(file, 1);
  EXPECT_THAT(Names(TrainToEnd(file)),
              ElementsAre("act_abs_max/0", "act_abs_max/1", "act_mean/0", "act_mean/1", "act_std/0", "act_std/1",
                          "act_zero_share/0", "act_zero_share/1", "effective_rank/0/down", "effective_rank/0/up",
                          "effective_rank/1/down", "effective_rank/1/up", "layer_cosine/0/1"));
  spec.set_effective_rank(false);
  spec.set_activation_moments(false);
  EXPECT_THAT(Names(TrainToEnd(file)), ElementsAre("layer_cosine/0/1"));
  spec.set_layer_cosine(false);
  spec.set_effective_rank(true);
  file.mutable_spec()->mutable_model()->set_architecture(v1::ARCHITECTURE_DENSE);
  file.mutable_spec()->mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_SWIGLU);
  EXPECT_THAT(Names(TrainToEnd(file)), ElementsAre("effective_rank/0/down", "effective_rank/0/gate", "effective_rank/0/up",
                                                   "effective_rank/1/down", "effective_rank/1/gate", "effective_rank/1/up"));
}

// The mean over the experts of a layer, whose tensors are found by their names.
template <class E>
double MeanRank(const TrainingRun& run, const ParameterTable& table, int layer, const std::string& matrix) {
  double sum = 0;
  int experts = 0;
  for (const Parameter& p : table.parameters()) {
    if (!p.name.starts_with(absl::StrCat("model.layers.", layer, ".mlp.experts.")) || !p.name.ends_with(matrix + "_proj.weight"))
      continue;
    std::vector<E> values(p.size);
    for (int64_t i = 0; i < p.size; ++i) values[i] = E(run.parameters[p.offset + i]);
    sum += EffectiveRank(values.data(), p.shape[0], p.shape[1]);
    ++experts;
  }
  EXPECT_EQ(experts, 4) << matrix;
  return sum / experts;
}

TEST_F(Analyses, EffectiveRanksAreThoseOfTheWeightsThatProductsRead) {
  v1::JobFile file = Job(4);
  SwitchOn(file, 100);
  file.mutable_spec()->mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_SWIGLU);
  const ParameterTable table(ToModelConfig(file.spec()));
  for (const v1::Precision precision : {v1::PRECISION_FP32, v1::PRECISION_BF16}) {
    if (precision == v1::PRECISION_BF16 && !CpuHasBf16()) continue;
    file.mutable_spec()->mutable_train()->set_precision(precision);
    const TrainingRun run = TrainToEnd(file);
    for (const int layer : {0, 1}) {
      for (const char* matrix : {"up", "gate", "down"}) {
        const double want = precision == v1::PRECISION_FP32 ? MeanRank<float>(run, table, layer, matrix)
                                                            : MeanRank<BF16>(run, table, layer, matrix);
        const double got = run.Series(absl::StrCat("effective_rank/", layer, "/", matrix)).at(4);
        EXPECT_NEAR(got, want, 1e-12 * want) << layer << matrix;
        EXPECT_GT(got, 10);
        EXPECT_LT(got, 24) << "the smaller side";
      }
    }
  }
}

// Plain loops over what the model shows of single windows.
struct PlainSums final : LayerObserver {
  void Activation(int layer, int64_t rows, const float* v) override {
    for (int64_t i = 0; i < rows * 24; ++i) {
      count[layer] += 1;
      sum[layer] += v[i];
      squares[layer] += double{v[i]} * v[i];
      zeros[layer] += v[i] == 0 ? 1 : 0;
      abs_max[layer] = std::max(abs_max[layer], std::abs(double{v[i]}));
    }
  }
  void Activation(int, int64_t, const BF16*) override { FAIL(); }
  void Hidden(int layer, int tokens, const float* states) override {
    if (layer == 0) return void(first.assign(states, states + tokens * 32));
    for (int t = 0; t < tokens; ++t) {
      double aa = 0, ab = 0, bb = 0;
      for (int i = t * 32; i < (t + 1) * 32; ++i) {
        aa += double{first[i]} * first[i];
        ab += double{first[i]} * states[i];
        bb += double{states[i]} * states[i];
      }
      cosine += ab / std::sqrt(aa * bb);
      this->tokens += 1;
    }
  }

  double count[2] = {}, sum[2] = {}, squares[2] = {}, zeros[2] = {}, abs_max[2] = {};
  std::vector<float> first;
  double cosine = 0, tokens = 0;
};

class AnalysedWindows : public Analyses {
 protected:
  // What the run reports at its end is of these windows of a dataset.
  void ExpectOf(const v1::JobFile& file, const std::string& name, const std::vector<uint64_t>& windows) const {
    const TrainingRun run = TrainToEnd(file);
    const Dataset dataset = Dataset::Open(dir_.path() + "/" + name, "train").value();
    Model model(ToModelConfig(file.spec()), CpuOps<float>(), {.max_sequences = 1, .sequence_length = kLength});
    PlainSums want;
    std::vector<int32_t> tokens(kLength), targets(kLength);
    for (const uint64_t window : windows) {
      ReadWindow(dataset, window, kLength, tokens.data(), targets.data());
      model.Evaluate(run.parameters.data(), tokens.data(), targets.data(), 1, nullptr, &want);
    }
    const auto end = [&](const std::string& point) { return run.Series(point).at(run.state.step); };
    EXPECT_NEAR(end("layer_cosine/0/1"), want.cosine / want.tokens, 1e-6);
    for (const int layer : {0, 1}) {
      const double mean = want.sum[layer] / want.count[layer];
      EXPECT_EQ(want.count[layer], want.tokens * 2 * 24) << "each row once";
      EXPECT_NEAR(end(absl::StrCat("act_mean/", layer)), mean, 1e-6);
      EXPECT_NEAR(end(absl::StrCat("act_std/", layer)), std::sqrt(want.squares[layer] / want.count[layer] - mean * mean), 1e-6);
      EXPECT_NEAR(end(absl::StrCat("act_abs_max/", layer)), want.abs_max[layer], 1e-5 * want.abs_max[layer]);
      EXPECT_NEAR(end(absl::StrCat("act_zero_share/", layer)), want.zeros[layer] / want.count[layer], 1e-3);
      EXPECT_GT(end(absl::StrCat("act_zero_share/", layer)), 0.2) << "it is a ReLU";
    }
  }
  v1::JobFile ReluJob() const {
    v1::JobFile file = Job(3);
    SwitchOn(file, 100);
    file.mutable_spec()->mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_RELU);
    return file;
  }
};

TEST_F(AnalysedWindows, AreThoseOfTheFirstValidationSet) {
  v1::JobFile file = ReluJob();
  Write("far", PeriodicTokens(3 * kLength + 5));
  AddValidation(file, "near");
  AddValidation(file, "far");
  file.mutable_spec()->mutable_validation()->set_max_tokens(6 * kLength);
  ExpectOf(file, "near", {0, 7, 14, 21, 28, 35});  // every 7th of 43, as validation reads them
}

TEST_F(AnalysedWindows, AreTheFirst8192TokensAtMost) {
  Write("long", ChainTokens(600 * kLength + 1, 3));
  v1::JobFile file = ReluJob();
  AddValidation(file, "long");
  std::vector<uint64_t> windows(8192 / kLength);
  for (uint64_t i = 0; i < windows.size(); ++i) windows[i] = i;
  ExpectOf(file, "long", windows);
}

TEST_F(AnalysedWindows, WithoutValidationAreTheFirstOfTheTrainingData) {
  std::vector<uint64_t> windows(4000 / kLength);
  for (uint64_t i = 0; i < windows.size(); ++i) windows[i] = i;
  ExpectOf(ReluJob(), "train", windows);
}

TEST_F(Analyses, ComeAtEveryMultipleOfTheirIntervalAndAtTheEndWhereverTheRunBegan) {
  v1::JobFile file = Job(7);
  SwitchOn(file, 2);
  AddValidation(file, "near");
  file.mutable_spec()->mutable_checkpoint()->set_every_tokens(3 * kStepTokens);
  file.mutable_spec()->mutable_checkpoint()->set_keep_last(10);
  const TrainingRun run = TrainToEnd(file, {.checkpoint_dir = checkpoints()});
  auto found = Found(run);
  ASSERT_EQ(found.size(), 13u);
  for (auto& [name, series] : found) {
    ASSERT_EQ(series.size(), 4u) << name;
    EXPECT_TRUE(series.contains(2) && series.contains(4) && series.contains(6) && series.contains(7)) << name;
    series.erase(2);
  }
  const TrainingRun resumed = TrainToEnd(file, {.checkpoint_dir = checkpoints("b"), .resume = checkpoints() + "/step-00000003"});
  EXPECT_EQ(Found(resumed), found) << "the same bits";
}

TEST_F(Analyses, DoNotChangeTraining) {
  for (const v1::Precision precision : {v1::PRECISION_FP32, v1::PRECISION_BF16}) {
    if (precision == v1::PRECISION_BF16 && !CpuHasBf16()) continue;
    v1::JobFile file = Job(6);
    AddValidation(file, "near");
    file.mutable_spec()->mutable_train()->set_precision(precision);
    const TrainingRun without = TrainToEnd(file);
    SwitchOn(file, 1);
    const TrainingRun with = TrainToEnd(file);
    EXPECT_EQ(Found(with).at("act_std/1").size(), 6u);
    for (const char* name : {"loss", "grad_norm", "router_entropy/1", "val_loss/near"})
      EXPECT_EQ(with.Series(name), without.Series(name));
    EXPECT_EQ(with.parameters, without.parameters);
  }
}

}  // namespace
}  // namespace polymoe
