// What a run reports: the names of docs/metrics.md and no others, values that follow from what was trained, and events in an order
// that a daemon can rely on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/metric.pb.h"

#include "tests/worker/train/tiny_training.h"
#include "worker/train/step_metrics.h"

namespace polymoe {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

std::set<std::string> Names(const TrainingRun& run) {
  std::set<std::string> names;
  for (const v1::TrainerEvent& event : run.events)
    for (const auto& [name, value] : event.points().values()) names.insert(name);
  return names;
}

// Steps that report a metric.
std::vector<uint64_t> Steps(const TrainingRun& run, const std::string& name) {
  std::vector<uint64_t> steps;
  for (const auto& [step, value] : run.Series(name)) steps.push_back(step);
  return steps;
}

TEST(StepMetrics, Values) {
  v1::StepPoints points;
  const StepResult result{
      .loss = 2, .load_balance = 1.5, .z = 3, .grad_norm = 0.5, .learning_rate = 0.25, .seconds = 4, .skipped_steps = 7};
  AddStepMetrics(result, /*batch_tokens=*/100, /*flops_per_token=*/10, /*moe=*/true, points);
  EXPECT_THAT(points.values(),
              UnorderedElementsAre(Pair("loss", 2), Pair("load_balance_loss", 1.5), Pair("z_loss", 3), Pair("grad_norm", 0.5),
                                   Pair("learning_rate", 0.25), Pair("step_seconds", 4), Pair("tokens_per_second", 25),
                                   Pair("flops_per_second", 250), Pair("skipped_steps", 7)));
}

TEST(StepMetrics, RouterLoadsAreSharesAndTheLargestIsOverTheMean) {
  v1::StepPoints points;
  AddRouterMetrics(3, std::vector<double>{6, 0, 1, 1}, 0.5, points);
  EXPECT_THAT(
      points.values(),
      UnorderedElementsAre(Pair("router_load/3/0", 0.75), Pair("router_load/3/1", 0), Pair("router_load/3/2", 0.125),
                           Pair("router_load/3/3", 0.125), Pair("router_max_over_mean/3", 3), Pair("router_min_over_mean/3", 0),
                           Pair("router_cv/3", std::sqrt(22 / 4.0) / 2), Pair("router_dead/3", 1), Pair("router_entropy/3", 0.5)));
}

TEST(StepMetrics, AnExpertWithLessThanAHundredthOfTheMeanIsDead) {
  v1::StepPoints points;
  AddRouterMetrics(0, std::vector<double>{0, 99, 100, 39801}, 0, points);  // mean 10000
  EXPECT_EQ(points.values().at("router_dead/0"), 2);
  EXPECT_EQ(points.values().at("router_min_over_mean/0"), 0);
  v1::StepPoints even;
  AddRouterMetrics(0, std::vector<double>{5, 5, 5}, 0, even);
  EXPECT_EQ(even.values().at("router_dead/0"), 0);
  EXPECT_EQ(even.values().at("router_min_over_mean/0"), 1);
  EXPECT_EQ(even.values().at("router_cv/0"), 0);
}

TEST(StepMetrics, CoefficientsAreNamedByTheirPower) {
  ModelConfig config{.moe = true, .experts = 2, .activation = {.kind = ActivationKind::kPolyPRelu, .order = 2}};
  const float sets[] = {0.5f, 0.25f, -1, 0.125f, 2, 3, 4, 5};
  v1::StepPoints layer;
  AddCoefficientMetrics(config, 1, sets, layer);
  EXPECT_THAT(layer.values(), UnorderedElementsAre(Pair("coef/1/w2", 0.5), Pair("coef/1/w1", 0.25), Pair("coef/1/bias", -1),
                                                   Pair("coef/1/slope", 0.125)));
  config.coefficients_per_expert = true;
  v1::StepPoints expert;
  AddCoefficientMetrics(config, 1, sets, expert);
  EXPECT_EQ(expert.values().size(), 8u);
  EXPECT_EQ(expert.values().at("coef/1/0/w2"), 0.5);
  EXPECT_EQ(expert.values().at("coef/1/1/w2"), 2);
  EXPECT_EQ(expert.values().at("coef/1/1/slope"), 5);
}

TEST_F(TinyTraining, AMoeRunReportsTheseNamesAndNoOthers) {
  Write("near", ChainTokens(200, 2));
  v1::JobFile file = Job(2);
  AddValidation(file, "near");
  std::set<std::string> expected = {"loss",         "load_balance_loss", "z_loss",           "grad_norm",     "learning_rate",
                                    "step_seconds", "tokens_per_second", "flops_per_second", "skipped_steps", "val_loss/near",
                                    "val_bpb/near"};
  for (const int layer : {0, 1}) {
    for (const char* name : {"router_max_over_mean", "router_min_over_mean", "router_cv", "router_dead", "router_entropy"})
      expected.insert(absl::StrCat(name, "/", layer));
    for (int expert = 0; expert < 4; ++expert) expected.insert(absl::StrCat("router_load/", layer, "/", expert));
    for (const char* name : {"w3", "w2", "w1", "bias"}) expected.insert(absl::StrCat("coef/", layer, "/", name));
  }
  EXPECT_EQ(Names(TrainToEnd(file)), expected);
}

TEST_F(TinyTraining, ADenseRunWithoutCoefficientsReportsNeitherRouterNorCoefficients) {
  v1::JobFile file = Job(1);
  file.mutable_spec()->mutable_model()->set_architecture(v1::ARCHITECTURE_DENSE);
  file.mutable_spec()->mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_GELU);
  EXPECT_THAT(Names(TrainToEnd(file)), UnorderedElementsAre("loss", "grad_norm", "learning_rate", "step_seconds",
                                                            "tokens_per_second", "flops_per_second", "skipped_steps"));
}

TEST_F(TinyTraining, RouterStatisticsAndCoefficientsAreThoseOfTheRun) {
  const TrainingRun run = TrainToEnd(Job(3));
  const ParameterTable table(ToModelConfig(Job(3).spec()));
  for (const int layer : {0, 1}) {
    double total = 0, most = 0;
    for (int expert = 0; expert < 4; ++expert) {
      const double load = run.Series(absl::StrCat("router_load/", layer, "/", expert)).at(3);
      total += load;
      most = std::max(most, load);
    }
    EXPECT_NEAR(total, 1, 1e-12);
    EXPECT_NEAR(run.Series(absl::StrCat("router_max_over_mean/", layer)).at(3), 4 * most, 1e-12);
    const double entropy = run.Series(absl::StrCat("router_entropy/", layer)).at(1);
    EXPECT_GT(entropy, 0.9 * std::log(4)) << "a fresh router is nearly indifferent";
    EXPECT_LE(entropy, std::log(4) + 1e-6);
    const float* coefficients = run.parameters.data() + table.layer(layer).coefficients;
    EXPECT_EQ(run.Series(absl::StrCat("coef/", layer, "/w3")).at(3), coefficients[0]) << "w[0] is the cube";
    EXPECT_EQ(run.Series(absl::StrCat("coef/", layer, "/bias")).at(3), coefficients[3]);
    EXPECT_NE(coefficients[0], 1.0f / 3) << "coefficients learn";
  }
  // 1 when loads and probabilities are even; a fresh router is close.
  EXPECT_NEAR(run.Series("load_balance_loss").at(1), 1, 0.1);
  EXPECT_NEAR(run.Series("z_loss").at(1), std::pow(std::log(4), 2), 0.2);
}

TEST_F(TinyTraining, DetailsComeWithEveryTenthPointAndTheLastStepWhereverTheRunBegan) {
  v1::JobFile file = Job(47);
  file.mutable_spec()->mutable_metrics()->set_every_steps(2);
  file.mutable_spec()->mutable_checkpoint()->set_every_tokens(10 * kStepTokens);
  file.mutable_spec()->mutable_checkpoint()->set_keep_last(10);
  const TrainingRun run = TrainToEnd(file, {.checkpoint_dir = checkpoints()});
  EXPECT_THAT(Steps(run, "router_entropy/1"), ElementsAre(2, 22, 42, 47));
  EXPECT_THAT(Steps(run, "coef/1/w1"), ElementsAre(2, 22, 42, 47));
  EXPECT_THAT(Steps(run, "loss"), IsSupersetOf({2, 4, 46, 47}));
  EXPECT_EQ(Steps(run, "loss").size(), 24u);
  const TrainingRun resumed = TrainToEnd(file, {.checkpoint_dir = checkpoints("b"), .resume = checkpoints() + "/step-00000010"});
  EXPECT_THAT(Steps(resumed, "router_entropy/1"), ElementsAre(22, 42, 47));
}

TEST_F(TinyTraining, EventsComeInTheOrderOfWhatHappened) {
  Write("near", ChainTokens(200, 2));
  v1::JobFile file = Job(2);
  file.mutable_spec()->mutable_model()->set_layers(1);
  AddValidation(file, "near");
  file.mutable_spec()->mutable_validation()->set_every_tokens(kStepTokens);
  file.mutable_spec()->mutable_checkpoint()->set_every_tokens(kStepTokens);
  std::vector<std::string> order;
  for (const v1::TrainerEvent& event : TrainToEnd(file).events) {
    const std::string what = event.has_started()                                 ? "started "
                             : event.has_checkpoint()                            ? "checkpoint "
                             : event.points().values().contains("loss")          ? "step "
                             : event.points().values().contains("val_loss/near") ? "validation "
                                                                                 : "details ";
    // Fields of an event that is of another kind are 0.
    order.push_back(absl::StrCat(what, event.started().start_step() + event.checkpoint().step() + event.points().step()));
  }
  // Checkpoints are written beside training: the first is there some time before the second.
  EXPECT_THAT(order, AllOf(Contains("checkpoint 1"), Contains("checkpoint 2")));
  EXPECT_LT(std::find(order.begin(), order.end(), "checkpoint 1"), std::find(order.begin(), order.end(), "checkpoint 2"));
  std::erase(order, "checkpoint 1");
  EXPECT_THAT(order, ElementsAre("started 0", "step 1", "details 1", "validation 1", "step 2", "details 2", "validation 2",
                                 "checkpoint 2"));
}

TEST(EventWriter, AReaderThatIsGoneIsNoReasonToStop) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EventWriter writer(ends[1]);
  close(ends[0]);
  v1::TrainerEvent event;
  event.set_error("x");
  writer.Write(event);
  writer.Write(event);
  EventWriter(-1).Write(event);
}

}  // namespace
}  // namespace polymoe
