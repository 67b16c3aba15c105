// Training in one process: it learns, it repeats itself to the bit, its result does not depend on how a batch is split or on
// threads, clipping clips, and a value that is not finite costs one step or ends the attempt, as the job says.
#include "worker/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/worker/train/tiny_training.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(sum);
}

TEST_F(TinyTraining, StartsAtTheEntropyOfGuessingAndLearns) {
  const auto loss = TrainToEnd(Job(40)).Series("loss");
  ASSERT_EQ(loss.size(), 40u);
  EXPECT_NEAR(loss.at(1), std::log(kVocab), 0.1);
  EXPECT_LT(loss.at(40), 0.6 * loss.at(1));
}

TEST_F(TinyTraining, TheSameSeedGivesTheSameBitsAndAnotherOneOthers) {
  v1::JobFile file = Job(5);
  const TrainingRun first = TrainToEnd(file), again = TrainToEnd(file);
  EXPECT_EQ(first.Series("loss"), again.Series("loss"));
  EXPECT_EQ(first.Series("grad_norm"), again.Series("grad_norm"));
  EXPECT_EQ(first.parameters, again.parameters);
  file.mutable_spec()->mutable_train()->set_seed(2);
  EXPECT_NE(TrainToEnd(file).Series("loss"), first.Series("loss"));
}

TEST_F(TinyTraining, AnyNumberOfThreadsGivesTheSameBits) {
  const TrainingRun one = TrainToEnd(Job(5));
  for (const int threads : {2, 3, 13}) {
    omp_set_num_threads(threads);
    const TrainingRun run = TrainToEnd(Job(5));
    EXPECT_EQ(run.Series("loss"), one.Series("loss")) << threads;
    EXPECT_EQ(run.parameters, one.parameters) << threads;
  }
}

TEST_F(TinyTraining, RecomputeGivesTheSameBits) {
  v1::JobFile file = Job(5);
  const TrainingRun kept = TrainToEnd(file);
  file.mutable_spec()->mutable_train()->set_recompute(true);
  const TrainingRun again = TrainToEnd(file);
  EXPECT_EQ(again.Series("loss"), kept.Series("loss"));
  EXPECT_EQ(again.Series("router_entropy/1"), kept.Series("router_entropy/1"));
  EXPECT_EQ(again.parameters, kept.parameters);
}

TEST_F(TinyTraining, Bf16LearnsAsFp32Does) {
  if (!CpuHasBf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  v1::JobFile file = Job(40);
  const auto fp32 = TrainToEnd(file).Series("loss");
  file.mutable_spec()->mutable_train()->set_precision(v1::PRECISION_BF16);
  const TrainingRun run = TrainToEnd(file);
  const auto bf16 = run.Series("loss");
  ASSERT_EQ(bf16.size(), 40u);
  EXPECT_NE(bf16.at(1), fp32.at(1));
  double fp32_end = 0, bf16_end = 0;
  for (const auto& [step, loss] : fp32) {
    // Later the two are on ways of their own, down the same hill.
    if (step <= 10) {
      EXPECT_NEAR(bf16.at(step), loss, 0.03 * loss) << step;  // a step is worth up to 10 %
    } else if (step > 30) {
      fp32_end += loss;
      bf16_end += bf16.at(step);
    }
  }
  EXPECT_NEAR(bf16_end, fp32_end, 0.05 * fp32_end);
  EXPECT_EQ(TrainToEnd(file).parameters, run.parameters) << "the same bits again";
}

// The loss is a sum of 128 fp32 terms, each good to a few roundings of 6e-8. A gradient's entry is the sum of as many contributions
// in another order, which errs by about 6e-8 * sqrt(128) of their magnitude and, over all entries, averages out in the norm.
constexpr double kSplitTolerance = 1e-6;

class BatchSplits : public TinyTraining {
 protected:
  // Expects these metrics of the first step to be the same with micro-batches of 8 (the whole batch), 1, 2 and 4. Returns the norm
  // of its gradient.
  double ExpectSame(v1::JobFile file, const std::vector<std::string>& names) const {
    v1::TrainSpec& train = *file.mutable_spec()->mutable_train();
    train.set_micro_batch(kBatch);
    const TrainingRun whole = TrainToEnd(file);
    for (const uint32_t micro : {1, 2, 4}) {
      train.set_micro_batch(micro);
      const TrainingRun run = TrainToEnd(file);
      for (const std::string& name : names) {
        const double want = whole.Series(name).at(1);
        EXPECT_NEAR(run.Series(name).at(1), want, kSplitTolerance * want) << name << ", micro-batch " << micro;
      }
    }
    return whole.Series("grad_norm").at(1);
  }
};

TEST_F(BatchSplits, GiveTheSameLossAndGradient) {
  v1::JobFile file = Job(1);
  // The load-balance loss is one of a micro-batch by definition (as OLMoE's): it is left out here, and tested below.
  file.mutable_spec()->mutable_train()->set_load_balance_loss(0);
  file.mutable_spec()->mutable_train()->set_z_loss(0.1);
  ExpectSame(file, {"loss", "z_loss", "grad_norm"});
}

TEST_F(BatchSplits, WeighTheRouterLossesTheSame) {
  Write("train", PeriodicTokens(2001));
  v1::JobFile file = Job(1);
  v1::TrainSpec& train = *file.mutable_spec()->mutable_train();
  train.set_load_balance_loss(1);
  train.set_z_loss(0.1);
  const double norm = ExpectSame(file, {"loss", "load_balance_loss", "z_loss", "grad_norm"});
  train.set_load_balance_loss(0);
  EXPECT_GT(std::abs(TrainToEnd(file).Series("grad_norm").at(1) / norm - 1), 1e-3) << "the weight must be felt";
}

// With a large epsilon an update is nearly the gradient times the rate, so that the clipped norm shows in the parameters.
TEST_F(TinyTraining, ClippingLimitsTheGlobalNorm) {
  Write("train", PeriodicTokens(2001));
  v1::JobFile file = Job(1);
  v1::TrainSpec& train = *file.mutable_spec()->mutable_train();
  train.set_learning_rate(10);
  train.set_adam_epsilon(1);
  train.set_weight_decay(0);
  const ModelConfig config = ToModelConfig(file.spec());
  const ParameterTable table(config);
  std::vector<float> initial(table.total());
  table.Initialize(train.seed(), config, initial.data());
  train.set_grad_clip(1e-3);
  const TrainingRun clipped = TrainToEnd(file);
  EXPECT_NEAR(Distance(clipped.parameters, initial), 10 * 1e-3, 1e-5);
  train.set_grad_clip(0);
  const TrainingRun free = TrainToEnd(file);
  const double norm = free.Series("grad_norm").at(1);
  EXPECT_GT(norm, 0.1);
  EXPECT_EQ(clipped.Series("grad_norm").at(1), norm) << "the metric is the norm before clipping";
  train.set_grad_clip(2 * norm);
  EXPECT_EQ(TrainToEnd(file).parameters, free.parameters) << "a norm below the limit is left alone";
}

TEST_F(TinyTraining, AStepTakesTheRateOfItsMiddleToken) {
  v1::JobFile file = Job(4);
  file.mutable_spec()->mutable_train()->set_warmup_tokens(2 * kStepTokens);
  EXPECT_THAT(TrainToEnd(file).Series("learning_rate"),
              ElementsAre(Pair(1, 0.0025), Pair(2, 0.0075), Pair(3, 0.01), Pair(4, 0.01)));
}

TEST_F(TinyTraining, EndsWithTheStepThatReachesTheBudget) {
  v1::JobFile file = Job(3);
  file.mutable_spec()->mutable_train()->set_tokens(2 * kStepTokens + 1);
  const TrainingRun run = TrainToEnd(file);
  EXPECT_EQ(*run.outcome, Outcome::kDone);
  EXPECT_EQ(run.state.step, 3u);
  EXPECT_EQ(run.state.tokens, 3 * kStepTokens);
}

// What a step without an update must leave alone shows on data that is all the same: parameters, moments and AdamW's t are then
// those of a run that never had the step.
class NonFinite : public TinyTraining {
 protected:
  NonFinite() { Write("train", PeriodicTokens(2001)); }
  static void Poison(int step, absl::Span<float> gradients) {
    if (step == 3) gradients[gradients.size() / 2] = std::numeric_limits<float>::quiet_NaN();
  }
  static void PoisonLoss(int step, absl::Span<double> sums) {
    if (step == 3) sums[0] = std::numeric_limits<double>::infinity();
  }
};

TEST_F(NonFinite, AStepIsSkippedAsIfItHadNotBeen) {
  const TrainingRun clean = TrainToEnd(Job(4));
  for (const bool gradients : {true, false}) {
    const TrainingRun run = Train(
        Job(5), {}, gradients ? std::make_unique<TamperedGroup>(Poison) : std::make_unique<TamperedGroup>(nullptr, PoisonLoss));
    ASSERT_TRUE(run.outcome.ok()) << run.outcome.status();
    EXPECT_EQ(run.parameters, clean.parameters);
    EXPECT_EQ(run.state.skipped, 1u);
    EXPECT_EQ(run.state.updates, 4u);
    EXPECT_EQ(run.state.sequences, 5 * kBatch) << "its data counts as read";
    EXPECT_THAT(run.Series("skipped_steps"), ElementsAre(Pair(1, 0), Pair(2, 0), Pair(3, 1), Pair(4, 1), Pair(5, 1)));
    EXPECT_EQ(run.Series("loss").at(4), clean.Series("loss").at(3));
  }
}

// A model that diverged for good must not burn the rest of its budget and then count as a success.
TEST_F(NonFinite, SkippingEndsWhenNothingElseHappens) {
  const auto spoil = [](int step, absl::Span<float> gradients) { gradients[0] = step == 50 ? 0 : std::nanf(""); };
  const TrainingRun run = Train(Job(200), {}, std::make_unique<TamperedGroup>(spoil));
  EXPECT_EQ(run.outcome.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(run.outcome.status().message()), HasSubstr("step 150 has loss"));
  EXPECT_THAT(std::string(run.outcome.status().message()), HasSubstr("100 steps in a row were skipped"));
}

TEST_F(NonFinite, OrTheAttemptStopsWithItsReason) {
  v1::JobFile file = Job(5);
  file.mutable_spec()->mutable_train()->set_non_finite(v1::NON_FINITE_POLICY_STOP);
  file.mutable_spec()->mutable_checkpoint()->set_every_tokens(kStepTokens);
  const TrainingRun run = Train(file, {.checkpoint_dir = checkpoints()}, std::make_unique<TamperedGroup>(Poison));
  EXPECT_EQ(run.outcome.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(run.outcome.status().message()), HasSubstr("step 3 has loss"));
  EXPECT_THAT(std::string(run.outcome.status().message()), HasSubstr("gradient norm nan"));
  EXPECT_THAT(std::string(run.outcome.status().message()), HasSubstr("spec.train.nonFinite: stop"));
  EXPECT_THAT(run.SavedSteps(), ElementsAre(1, 2)) << "the bad step is no checkpoint";
  EXPECT_TRUE(std::isnan(run.Series("grad_norm").at(3))) << "but it is reported";
}

}  // namespace
}  // namespace polymoe
