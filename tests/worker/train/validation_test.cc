// Validation: several named sets, each read as the job says; the losses are those of the parameters at that step; training goes on
// as without it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numbers>
#include <string>
#include <vector>

#include "tests/worker/train/tiny_training.h"
#include "worker/data/loader.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Validation : public TinyTraining {
 protected:
  Validation() {
    Write("near", ChainTokens(40 * kLength + 1, 2));
    Write("far", PeriodicTokens(3 * kLength + 5));
  }
  std::vector<uint64_t> Steps(const std::map<uint64_t, double>& series) const {
    std::vector<uint64_t> steps;
    for (const auto& [step, value] : series) steps.push_back(step);
    return steps;
  }
  // Mean loss of these windows of a set under `parameters`, one by one.
  double LossOf(const v1::JobFile& file, const std::string& set, const std::vector<uint64_t>& windows,
                const std::vector<float>& parameters) const {
    const Dataset dataset = Dataset::Open(dir_.path() + "/" + set, "train").value();
    Model model(ToModelConfig(file.spec()), CpuOps<float>(), {.max_sequences = 1, .sequence_length = kLength});
    std::vector<int32_t> tokens(kLength), targets(kLength);
    double sum = 0;
    for (const uint64_t window : windows) {
      ReadWindow(dataset, window, kLength, tokens.data(), targets.data());
      sum += model.Evaluate(parameters.data(), tokens.data(), targets.data(), 1).cross_entropy;
    }
    return sum / static_cast<double>(windows.size() * kLength);
  }
};

TEST_F(Validation, IsTheLossOfTheParametersOnEachSet) {
  v1::JobFile file = Job(3);
  AddValidation(file, "near");
  AddValidation(file, "far");
  file.mutable_spec()->mutable_validation()->set_max_tokens(6 * kLength + 3);  // 6 windows: a whole micro-batch and a part of one
  const TrainingRun run = TrainToEnd(file);
  // Spread over the whole split: every 6th of 40 windows. The other set has 3.
  const double near = LossOf(file, "near", {0, 6, 12, 18, 24, 30}, run.parameters);
  const double far = LossOf(file, "far", {0, 1, 2}, run.parameters);
  EXPECT_NEAR(run.Series("val_loss/near").at(3), near, 1e-6 * near);
  EXPECT_NEAR(run.Series("val_loss/far").at(3), far, 1e-6 * far);
  // datasets.h says 1234 bytes.
  EXPECT_NEAR(run.Series("val_bpb/near").at(3), near / std::numbers::ln2 * (40 * kLength + 1) / 1234, 1e-5);
}

TEST_F(Validation, ComesAtEveryMultipleOfItsIntervalAndOnceAtTheEnd) {
  v1::JobFile file = Job(7);
  AddValidation(file, "near");
  file.mutable_spec()->mutable_validation()->set_every_tokens(3 * kStepTokens / 2);  // in steps 2, 3, 5, 6 and at the end
  file.mutable_spec()->mutable_metrics()->set_every_steps(100);
  const TrainingRun run = TrainToEnd(file);
  EXPECT_THAT(Steps(run.Series("val_loss/near")), ElementsAre(2, 3, 5, 6, 7));
  EXPECT_THAT(Steps(run.Series("loss")), ElementsAre(2, 3, 5, 6, 7)) << "the training loss comes beside it";
  file.mutable_spec()->mutable_validation()->set_every_tokens(7 * kStepTokens);
  EXPECT_THAT(Steps(TrainToEnd(file).Series("val_loss/near")), ElementsAre(7)) << "the last multiple is the end";
}

TEST_F(Validation, DoesNotChangeTraining) {
  v1::JobFile file = Job(5);
  const TrainingRun without = TrainToEnd(file);
  AddValidation(file, "near");
  file.mutable_spec()->mutable_validation()->set_every_tokens(kStepTokens);
  const TrainingRun with = TrainToEnd(file);
  EXPECT_EQ(with.parameters, without.parameters);
  EXPECT_EQ(with.Series("router_entropy/0"), without.Series("router_entropy/0"));
}

TEST_F(Validation, ASetThatCannotBeReadStopsTheJobBeforeItsFirstStep) {
  v1::JobFile file = Job(3);
  AddValidation(file, "near");
  AddValidation(file, "far");
  Write("far", PeriodicTokens(kLength));
  const TrainingRun run = Train(file);
  EXPECT_EQ(run.outcome.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(run.outcome.status().message()), HasSubstr("spec.validation.sets[1] (far)"));
  EXPECT_TRUE(run.events.empty());
}

}  // namespace
}  // namespace polymoe
