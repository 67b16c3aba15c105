// Ablation files: arms and grids, the job of every run, equal counts, and mistakes with their places.
#include "common/spec/ablation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/util/message_differencer.h"

#include "common/spec/model_shape.h"
#include "common/spec/yaml_write.h"
#include "tests/common/spec/ablation_text.h"

namespace polymoe {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// kAblationText with `from` replaced by `to`, which must occur.
absl::StatusOr<v1::AblationFile> Parse(const std::string& from = "", const std::string& to = "") {
  if (from.empty()) return ParseAblationFile(kAblationText, "a.yaml");
  const std::string text = absl::StrReplaceAll(kAblationText, {{from, to}});
  EXPECT_NE(text, kAblationText) << "'" << from << "' does not occur";
  return ParseAblationFile(text, "a.yaml");
}

std::string ErrorOf(const std::string& from, const std::string& to) {
  const auto file = Parse(from, to);
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << file.status();
  return std::string(file.status().message());
}

std::vector<std::string> ArmNames(const v1::AblationFile& file) {
  const auto arms = PlanArms(file);
  EXPECT_TRUE(arms.ok()) << arms.status();
  std::vector<std::string> names;
  for (const PlannedArm& arm : *arms) names.push_back(arm.name);
  return names;
}

TEST(AblationFile, FillsDefaultsInOnce) {
  const auto file = Parse();
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->spec().baseline(), "swiglu");
  EXPECT_EQ(file->spec().match(), v1::MATCH_TARGET_NONE);
  EXPECT_EQ(file->spec().base().train().tokens(), 100'000u);
  EXPECT_FALSE(file->spec().base().train().has_seed());
  EXPECT_EQ(file->spec().stop().hopeless_after_tokens(), 50'000u);
  EXPECT_THAT(file->spec().seeds(), ElementsAre(7, 8));
  v1::AblationFile again = *file;
  ASSERT_TRUE(CompleteAblationFile(&again).ok());
  EXPECT_TRUE(MessageDifferencer::Equals(again, *file));
  const auto read_back = ParseAblationFile(MessageToYaml(*file), "b.yaml");
  ASSERT_TRUE(read_back.ok()) << read_back.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*read_back, *file)) << "as the writer spells it";
}

TEST(AblationFile, ABaseWithoutTrain) {
  const auto file = Parse("    train: {globalBatch: 8, microBatch: 4}\n", "");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->spec().base().train().global_batch(), 16u);
  v1::AblationFile again = *file;
  ASSERT_TRUE(CompleteAblationFile(&again).ok());
  EXPECT_TRUE(MessageDifferencer::Equals(again, *file));
}

TEST(AblationFile, TheTokensOfTheBaseServeAsBudget) {
  v1::AblationFile file = *Parse();
  file.mutable_spec()->clear_budget();
  ASSERT_TRUE(CompleteAblationFile(&file).ok());
  EXPECT_EQ(file.spec().budget().tokens(), 100'000u);
}

TEST(AblationFile, RunsAreSeedBySeedAndTheirJobsComplete) {
  const auto runs = PlanRuns(*Parse());
  ASSERT_TRUE(runs.ok()) << runs.status();
  std::vector<std::string> names;
  for (const PlannedRun& run : *runs) {
    names.push_back(run.job.metadata().name());
    EXPECT_EQ(run.job.spec().train().tokens(), 100'000u);
    EXPECT_EQ(run.job.spec().train().seed(), run.seed);
    EXPECT_TRUE(run.job.spec().train().has_weight_decay()) << "every default";
    const auto& labels = run.job.metadata().labels();
    EXPECT_EQ(labels.at("study"), "demo");
    EXPECT_EQ(labels.at("ablation"), "abl");
    EXPECT_EQ(labels.at("arm"), run.arm);
    EXPECT_EQ(labels.at("seed"), absl::StrCat(run.seed));
  }
  EXPECT_THAT(names, ElementsAre("abl-swiglu-s7", "abl-poly-s7", "abl-swiglu-s8", "abl-poly-s8"));
  EXPECT_EQ((*runs)[0].job.spec().model().activation().kind(), v1::ACTIVATION_KIND_SWIGLU);
  EXPECT_EQ((*runs)[1].job.spec().model().activation().kind(), v1::ACTIVATION_KIND_POLYNORM);
  EXPECT_EQ((*runs)[1].job.spec().model().activation().order(), 2u);
}

TEST(AblationFile, AxesMakeAGrid) {
  const std::string axes =
      "  axes:\n  - {path: train.learningRate, values: [1e-3, 0.01], name: lr}\n  - {path: model.topK, values: [1, 2]}\n";
  const auto both = Parse("  seeds:", axes + "  seeds:");
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_THAT(ArmNames(*both),
              ElementsAre("swiglu-lr-1e-3-topk-1", "swiglu-lr-1e-3-topk-2", "swiglu-lr-0-01-topk-1", "swiglu-lr-0-01-topk-2",
                          "poly-lr-1e-3-topk-1", "poly-lr-1e-3-topk-2", "poly-lr-0-01-topk-1", "poly-lr-0-01-topk-2"));
  EXPECT_EQ(both->spec().baseline(), "swiglu-lr-1e-3-topk-1");
  v1::AblationFile alone = *both;
  alone.mutable_spec()->clear_arms();
  alone.mutable_spec()->clear_baseline();
  alone.mutable_spec()->mutable_base()->mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_RELU);
  ASSERT_TRUE(CompleteAblationFile(&alone).ok());
  EXPECT_THAT(ArmNames(alone), ElementsAre("lr-1e-3-topk-1", "lr-1e-3-topk-2", "lr-0-01-topk-1", "lr-0-01-topk-2"));
  EXPECT_DOUBLE_EQ((*PlanArms(alone))[2].spec.train().learning_rate(), 0.01);
}

class Match : public ::testing::TestWithParam<std::pair<const char*, v1::MatchTarget>> {};

// No other width comes closer.
TEST_P(Match, IsWithinOneStepOfTheBaseline) {
  const auto file = Parse("  seeds:", absl::StrCat("  match: ", GetParam().first, "\n  seeds:"));
  ASSERT_TRUE(file.ok()) << file.status();
  const auto count = [&](const v1::JobSpec& spec) {
    const ModelShape shape = ComputeShape(spec.model(), spec.data().sequence_length());
    return GetParam().second == v1::MATCH_TARGET_FLOPS               ? shape.flops_per_token
           : GetParam().second == v1::MATCH_TARGET_ACTIVE_PARAMETERS ? static_cast<double>(shape.active)
                                                                     : static_cast<double>(shape.total);
  };
  const auto arms = *PlanArms(*file);
  EXPECT_EQ(arms[0].spec.model().ffn(), 48u) << "the baseline keeps its width";
  EXPECT_NEAR(arms[1].spec.model().ffn(), 72, 1) << "three matrices against two";
  const double off = std::fabs(count(arms[1].spec) - count(arms[0].spec));
  for (const int step : {-1, 1}) {
    v1::JobSpec other = arms[1].spec;
    other.mutable_model()->set_ffn(other.model().ffn() + step);
    EXPECT_GE(std::fabs(count(other) - count(arms[0].spec)), off);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Match,
                         ::testing::Values(std::pair("parameters", v1::MATCH_TARGET_PARAMETERS),
                                           std::pair("active_parameters", v1::MATCH_TARGET_ACTIVE_PARAMETERS),
                                           std::pair("flops", v1::MATCH_TARGET_FLOPS)),
                         [](const auto& info) { return std::string(info.param.first); });

TEST(AblationFile, MatchAcrossArchitectures) {
  auto file = *Parse("model.activation.kind: swiglu", "model.architecture: dense, model.activation.kind: relu");
  file.mutable_spec()->set_baseline("poly");
  file.mutable_spec()->set_match(v1::MATCH_TARGET_ACTIVE_PARAMETERS);
  ASSERT_TRUE(CompleteAblationFile(&file).ok());
  const auto arms = *PlanArms(file);
  EXPECT_NEAR(arms[0].spec.model().ffn(), 2 * arms[1].spec.model().ffn(), 4) << "one FFN against two experts a token";
}

struct BadCase {
  const char *name, *from, *to, *error;
};

void PrintTo(const BadCase& c, std::ostream* os) {
  *os << c.to;
}

class BadAblationFile : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadAblationFile, NamesPlacePathArmAndRemedy) {
  EXPECT_EQ(ErrorOf(GetParam().from, GetParam().to), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Errors, BadAblationFile,
    ::testing::Values(
        BadCase{"Kind", "kind: Ablation", "kind: Job", "a.yaml:2:1: kind: 'Job' is not known here; write Ablation"},
        BadCase{"BaseRange", "layers: 2", "layers: 0",
                "a.yaml:8:13: spec.base.model.layers: 0 is out of range; it must be 1 to 1024"},
        BadCase{"BaseMissing", "layers: 2, ", "", "a.yaml:8:5: spec.base.model.layers: is missing: decoder layers (arm swiglu)"},
        BadCase{"BaseRule", "topK: 2", "topK: 9",
                "a.yaml:8:67: spec.base.model.topK: 9 is more than the 4 experts there are (arm swiglu)"},
        BadCase{"Tokens", "train: {", "train: {tokens: 5k, ",
                "a.yaml:10:13: spec.base.train.tokens: 5000 is not spec.budget.tokens, 100000; leave it out"},
        BadCase{"Seed", "train: {", "train: {seed: 7, ",
                "a.yaml:10:13: spec.base.train.seed: 7 is not what spec.seeds says; leave it out"},
        BadCase{"SetUnknown", "model.activation.order: 2", "model.activation.odrer: 2",
                "a.yaml:14:57: spec.arms[1].set.model.activation.odrer: arm poly, model.activation.odrer: unknown field 'odrer'; "
                "did you "
                "mean order?"},
        BadCase{"SetRule", "model.activation.order: 2", "model.activation.order: 9",
                "a.yaml:14:57: spec.arms[1].set.model.activation.order: 9 is out of range; it must be 1 to 4 (arm poly)"},
        BadCase{
            "SetSeed", "model.activation.order: 2", "train.seed: 2",
            "a.yaml:14:57: spec.arms[1].set.train.seed: an arm must not set train.seed: arms are compared at equal tokens and over "
            "the same seeds (spec.budget.tokens, spec.seeds)"},
        BadCase{"TwoArms", "name: poly", "name: swiglu", "a.yaml:14:5: spec.arms[1]: two arms are called 'swiglu'"},
        BadCase{"Baseline", "  seeds:", "  baseline: relu\n  seeds:",
                "a.yaml:15:3: spec.baseline: there is no arm 'relu'; the first is swiglu"},
        BadCase{"SeedTwice", "[7, 8]", "[7, 7]", "a.yaml:15:14: spec.seeds[1]: 7 is given twice"},
        BadCase{"SeedText", "[7, 8]", "[7, x]", "a.yaml:15:14: spec.seeds[1]: expected a whole number, found 'x'"},
        BadCase{"SeedList", "[7, 8]", "[7, [8]]", "a.yaml:15:14: spec.seeds[1]: expected a single value, found a list"},
        BadCase{"Budget", "  budget: {tokens: 100k}\n", "", "a.yaml:6:1: spec.budget: is missing: what it may cost"},
        BadCase{"Slots", "{tokens: 100k}", "{tokens: 100k, parallelSlots: 0}",
                "a.yaml:16:26: spec.budget.parallelSlots: 0 is out of range; it must be at least 1"},
        BadCase{
            "TooFewSlots", "budget: {tokens: 100k}",
            "budget: {tokens: 100k, parallelSlots: 1}\n  axes: [{path: resources.ranks, values: [2]}]",
            "a.yaml:16:26: spec.budget.parallelSlots: 1 is less than the 2 ranks of arm swiglu-ranks-2, which could never start"},
        BadCase{"Set", "  seeds:", "  compare: {sets: [near, fra]}\n  seeds:",
                "a.yaml:15:26: spec.compare.sets[1]: arm swiglu has no validation set 'fra'"},
        BadCase{
            "MatchFfn", "model.activation.order: 2}}\n", "model.ffn: 2}}\n  match: flops\n",
            "a.yaml:14:57: spec.arms[1].set.model.ffn: spec.match chooses model.ffn; leave model.ffn out, or write match: none"},
        BadCase{"Long", "name: abl", "name: abl-of-a-long-name-that-says-a-great-deal-of-what-it-is-for",
                "a.yaml:4:3: metadata.name: the job of a run would be called "
                "'abl-of-a-long-name-that-says-a-great-deal-of-what-it-is-for-"
                "swiglu-s7', which has 69 of at most 63 characters; shorten the name of the ablation or of arm swiglu"}),
    [](const auto& info) { return info.param.name; });

TEST(AblationFile, ABaseThatMatchesWidthsItself) {
  auto file = *Parse();
  file.mutable_spec()->set_match(v1::MATCH_TARGET_FLOPS);
  file.mutable_spec()->mutable_base()->mutable_model()->set_match(v1::WIDTH_MATCH_PARAMETERS);
  EXPECT_EQ(std::string(CompleteAblationFile(&file).message()),
            "spec.base.model.match: spec.match chooses the widths already; leave this out");
}

TEST(AblationFile, NothingToCompareAndTooMuch) {
  auto file = *Parse();
  file.mutable_spec()->clear_arms();
  EXPECT_THAT(std::string(CompleteAblationFile(&file).message()), HasSubstr("give arms, axes or both"));
  file = *Parse();
  for (uint64_t seed = 100; seed < 700; ++seed) file.mutable_spec()->add_seeds(seed);
  EXPECT_THAT(std::string(CompleteAblationFile(&file).message()), HasSubstr("2 arms with 602 seeds are more than 1000 runs"));
  for (int axis = 0; axis < 9; ++axis) {
    v1::AblationAxis& added = *file.mutable_spec()->add_axes();
    added.set_path("model.topK");
    for (int value = 0; value < 100; ++value) added.add_values("1");
  }
  EXPECT_THAT(std::string(CompleteAblationFile(&file).message()), HasSubstr("more than 1000 arms")) << "and no memory is spent";
}

}  // namespace
}  // namespace polymoe
