// Resuming: what follows a checkpoint is what would have followed it, to the bit, for every kind of model; a damaged checkpoint
// costs steps, never a good one; and whatever does not fit together is refused.
#include "worker/train/resume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"

#include "tests/worker/train/tiny_training.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kNewestTensors[] = "/step-00000004/attempt-1/rank-0.safetensors";

class ResumeTest : public TinyTraining {
 protected:
  // Checkpoints of every second step.
  v1::JobFile SavingJob(int steps, uint32_t keep_last) const {
    v1::JobFile file = Job(steps);
    file.mutable_spec()->mutable_checkpoint()->set_every_tokens(2 * kStepTokens);
    file.mutable_spec()->mutable_checkpoint()->set_keep_last(keep_last);
    return file;
  }
  std::vector<std::string> Names(const std::string& directory) const { return ListDirectory(directory).value(); }
  void Damage(const std::string& file) const {
    std::string bytes = ReadFile(file).value();
    bytes[bytes.size() / 2] ^= 1;
    ASSERT_TRUE(WriteFileDurably(file, bytes).ok());
  }
  static uint64_t StartStep(const TrainingRun& run) {
    return run.events.empty() || !run.events[0].has_started() ? ~uint64_t{0} : run.events[0].started().start_step();
  }
};

struct Arm {
  v1::ActivationKind kind;
  v1::Architecture architecture;
  v1::CoefficientScope scope;
};

std::string ArmName(const Arm& arm) {
  const std::string kind = absl::StrReplaceAll(v1::ActivationKind_Name(arm.kind), {{"ACTIVATION_KIND_", ""}});
  return absl::StrCat(kind, arm.architecture == v1::ARCHITECTURE_MOE ? "Moe" : "Dense",
                      arm.scope == v1::COEFFICIENT_SCOPE_EXPERT ? "PerExpert" : "");
}

void PrintTo(const Arm& arm, std::ostream* os) {
  *os << ArmName(arm);
}

class EveryModel : public ResumeTest, public ::testing::WithParamInterface<Arm> {};

// With accumulation (two micro-batches), a schedule, validation that falls between checkpoints, a skipped step before the
// checkpoint, and an end of the data's epoch behind it.
TEST_P(EveryModel, GoesOnWithTheSameBits) {
  Write("train", ChainTokens(45 * kLength + 1, 1));  // 45 windows: an epoch ends in step 6
  Write("near", ChainTokens(10 * kLength + 1, 2));
  v1::JobFile file = Job(7);
  v1::JobSpec& spec = *file.mutable_spec();
  spec.mutable_model()->set_architecture(GetParam().architecture);
  spec.mutable_model()->mutable_activation()->set_kind(GetParam().kind);
  spec.mutable_model()->mutable_activation()->set_coefficients(GetParam().scope);
  spec.mutable_train()->set_schedule(v1::SCHEDULE_KIND_COSINE);
  spec.mutable_train()->set_warmup_tokens(3 * kStepTokens);
  spec.mutable_checkpoint()->set_every_tokens(4 * kStepTokens);
  spec.mutable_validation()->set_every_tokens(3 * kStepTokens);
  AddValidation(file, "near");
  TamperedGroup group([](int step, absl::Span<float> gradients) {
    if (step == 1) gradients[0] = std::numeric_limits<float>::infinity();
  });
  const TrainingRun whole = Train(file, {.checkpoint_dir = checkpoints()}, group);
  ASSERT_TRUE(whole.outcome.ok()) << whole.outcome.status();
  ASSERT_THAT(whole.SavedSteps(), ElementsAre(4, 7));

  const TrainingRun resumed = TrainToEnd(file, {.checkpoint_dir = checkpoints("b"), .resume = checkpoints() + "/step-00000004"});
  ASSERT_EQ(StartStep(resumed), 4u);
  for (const char* name : {"loss", "grad_norm", "learning_rate", "skipped_steps", "val_loss/near"}) {
    auto expected = whole.Series(name);
    std::erase_if(expected, [](const auto& point) { return point.first <= 4; });
    EXPECT_EQ(resumed.Series(name), expected) << name;
  }
  EXPECT_EQ(resumed.parameters, whole.parameters);
  for (const char* file_name : {"/step-00000007/attempt-1/rank-0.safetensors", "/step-00000007/attempt-1/trainer.json"})
    EXPECT_EQ(*ReadFile(checkpoints() + file_name), *ReadFile(checkpoints("b") + file_name)) << file_name;
}

std::vector<Arm> Arms() {
  std::vector<Arm> arms;
  for (int kind = v1::ACTIVATION_KIND_RELU; kind <= v1::ACTIVATION_KIND_POLYRELUNORM; ++kind) {
    const auto k = static_cast<v1::ActivationKind>(kind);
    arms.push_back({k, v1::ARCHITECTURE_MOE, v1::COEFFICIENT_SCOPE_LAYER});
    arms.push_back({k, v1::ARCHITECTURE_DENSE, v1::COEFFICIENT_SCOPE_LAYER});
    if (k >= v1::ACTIVATION_KIND_POLYRELU) arms.push_back({k, v1::ARCHITECTURE_MOE, v1::COEFFICIENT_SCOPE_EXPERT});
  }
  return arms;
}
INSTANTIATE_TEST_SUITE_P(Arms, EveryModel, ::testing::ValuesIn(Arms()), [](const auto& info) { return ArmName(info.param); });

// The copy that products read is not in the checkpoint.
TEST_F(ResumeTest, Bf16GoesOnWithTheSameBits) {
  if (!CpuHasBf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  v1::JobFile file = SavingJob(6, 5);
  file.mutable_spec()->mutable_train()->set_precision(v1::PRECISION_BF16);
  const TrainingRun whole = TrainToEnd(file, {.checkpoint_dir = checkpoints()});
  const TrainingRun resumed = TrainToEnd(file, {.checkpoint_dir = checkpoints("b"), .resume = checkpoints() + "/step-00000004"});
  ASSERT_EQ(StartStep(resumed), 4u);
  EXPECT_EQ(resumed.Series("loss").at(5), whole.Series("loss").at(5));
  EXPECT_EQ(resumed.parameters, whole.parameters);
}

TEST_F(ResumeTest, ACheckpointServesTheOtherPrecision) {
  if (!CpuHasBf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  v1::JobFile bf16 = SavingJob(6, 5);
  bf16.mutable_spec()->mutable_train()->set_precision(v1::PRECISION_BF16);
  const TrainingRun fp32 = TrainToEnd(SavingJob(6, 5), {.checkpoint_dir = checkpoints()});
  const TrainingRun mixed = TrainToEnd(bf16, {.checkpoint_dir = checkpoints("b"), .resume = checkpoints() + "/step-00000004"});
  ASSERT_EQ(StartStep(mixed), 4u);
  EXPECT_NE(mixed.Series("loss").at(5), fp32.Series("loss").at(5));
  EXPECT_NEAR(mixed.Series("loss").at(5), fp32.Series("loss").at(5), 0.01 * fp32.Series("loss").at(5));
}

TEST_F(ResumeTest, AStopOnRequestSavesItsStepAndLosesNothing) {
  const TrainingRun whole = TrainToEnd(Job(6));
  TamperedGroup group(nullptr, [](int step, absl::Span<double> sums) { sums[3] += step == 3; });
  const TrainingRun stopped = Train(Job(6), {.checkpoint_dir = checkpoints()}, group);
  ASSERT_TRUE(stopped.outcome.ok()) << stopped.outcome.status();
  EXPECT_EQ(*stopped.outcome, Outcome::kStopped);
  EXPECT_THAT(stopped.SavedSteps(), ElementsAre(3));
  const TrainingRun rest = TrainToEnd(Job(6), {.checkpoint_dir = checkpoints()});
  EXPECT_EQ(StartStep(rest), 3u);
  EXPECT_EQ(rest.parameters, whole.parameters);
}

TEST_F(ResumeTest, ACompleteJobEndsAtOnce) {
  const TrainingRun first = TrainToEnd(Job(3), {.checkpoint_dir = checkpoints()});
  const TrainingRun again = TrainToEnd(Job(3), {.checkpoint_dir = checkpoints()});
  EXPECT_EQ(*again.outcome, Outcome::kDone);
  ASSERT_EQ(again.events.size(), 1u) << "it starts, and that is all";
  EXPECT_EQ(StartStep(again), 3u);
  EXPECT_EQ(again.parameters, first.parameters);
}

TEST_F(ResumeTest, KeepLastKeepsTheNewest) {
  TrainToEnd(SavingJob(9, 3), {.checkpoint_dir = checkpoints()});
  EXPECT_THAT(Names(checkpoints()), ElementsAre("step-00000006", "step-00000008", "step-00000009"));
  TrainToEnd(SavingJob(9, 1), {.checkpoint_dir = checkpoints("b")});
  EXPECT_THAT(Names(checkpoints("b")), ElementsAre("step-00000009"));
}

TEST_F(ResumeTest, ADamagedNewestCheckpointCostsStepsAndNothingElse) {
  const TrainingRun whole = TrainToEnd(SavingJob(4, 2), {.checkpoint_dir = checkpoints()});
  Damage(checkpoints() + kNewestTensors);
  const TrainingRun again = TrainToEnd(SavingJob(4, 2), {.checkpoint_dir = checkpoints()});
  EXPECT_EQ(StartStep(again), 2u);
  EXPECT_EQ(again.parameters, whole.parameters);
  EXPECT_THAT(Names(checkpoints()), ElementsAre("step-00000002", "step-00000004", "step-00000004.superseded"));
}

// With keepLast 1 the damaged one is the newest by name; the good one must outlive it until another good one is complete.
TEST_F(ResumeTest, TheNewestGoodCheckpointIsNeverCollected) {
  TrainToEnd(SavingJob(4, 2), {.checkpoint_dir = checkpoints()});
  Damage(checkpoints() + kNewestTensors);
  v1::JobFile file = SavingJob(4, 1);
  file.mutable_spec()->mutable_train()->set_non_finite(v1::NON_FINITE_POLICY_STOP);
  TamperedGroup fails([](int, absl::Span<float> gradients) { gradients[0] = std::numeric_limits<float>::quiet_NaN(); });
  EXPECT_FALSE(Train(file, {.checkpoint_dir = checkpoints()}, fails).outcome.ok()) << "the attempt ends before it saves";
  const TrainingRun next = TrainToEnd(file, {.checkpoint_dir = checkpoints()});
  EXPECT_EQ(StartStep(next), 2u);
  EXPECT_THAT(Names(checkpoints()), ElementsAre("step-00000004", "step-00000004.superseded"));
}

TEST_F(ResumeTest, NothingButDamageIsAnErrorNotAFreshStart) {
  TrainToEnd(SavingJob(4, 1), {.checkpoint_dir = checkpoints()});
  Damage(checkpoints() + kNewestTensors);
  const absl::Status status = Train(SavingJob(4, 1), {.checkpoint_dir = checkpoints()}).outcome.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("step-00000004 is damaged"));
}

TEST_F(ResumeTest, NoneStartsAgainAndSetsTheOldOnesAside) {
  const TrainingRun first = TrainToEnd(SavingJob(4, 2), {.checkpoint_dir = checkpoints()});
  const TrainingRun again = TrainToEnd(SavingJob(4, 2), {.checkpoint_dir = checkpoints(), .resume = "none"});
  EXPECT_EQ(StartStep(again), 0u);
  EXPECT_EQ(again.parameters, first.parameters);
  EXPECT_THAT(Names(checkpoints()),
              ElementsAre("step-00000002", "step-00000002.superseded", "step-00000004", "step-00000004.superseded"));
}

TEST_F(ResumeTest, APathGoesBackToThatStep) {
  TrainToEnd(SavingJob(6, 3), {.checkpoint_dir = checkpoints()});
  const std::string path = checkpoints() + "/step-00000004/";
  const TrainingRun back = TrainToEnd(SavingJob(6, 3), {.checkpoint_dir = checkpoints(), .resume = path});
  EXPECT_EQ(StartStep(back), 4u);
  EXPECT_THAT(back.SavedSteps(), ElementsAre(6)) << "the later one of before does not count as saved";
  const absl::Status status = Train(Job(6), {.checkpoint_dir = checkpoints(), .resume = "newest"}).outcome.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--resume newest is no checkpoint"));
}

TEST_F(ResumeTest, AnotherModelOrOtherDataIsRefusedAndHarmless) {
  TrainToEnd(Job(2), {.checkpoint_dir = checkpoints()});
  v1::JobFile other = Job(4);
  other.mutable_spec()->mutable_model()->mutable_activation()->set_order(2);
  const absl::Status model = Train(other, {.checkpoint_dir = checkpoints()}).outcome.status();
  EXPECT_EQ(model.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(model.message()), HasSubstr("is of another model"));

  // The position in the data means another sequence.
  v1::JobFile reordered = Job(4);
  reordered.mutable_spec()->mutable_train()->set_seed(reordered.spec().train().seed() + 1);
  const absl::Status order = Train(reordered, {.checkpoint_dir = checkpoints()}).outcome.status();
  EXPECT_EQ(order.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(order.message()), HasSubstr("in another order"));

  const std::string manifest = dir_.path() + "/train/manifest.json";
  const std::string edited = absl::StrReplaceAll(*ReadFile(manifest), {{"0123456789abcdef", "fedcba9876543210"}});
  ASSERT_TRUE(WriteFileDurably(manifest, edited).ok());
  const TrainingRun run = Train(Job(4), {.checkpoint_dir = checkpoints()});
  EXPECT_EQ(run.outcome.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(run.outcome.status().message()), HasSubstr("was trained on other data"));
  EXPECT_THAT(run.events, IsEmpty());
  EXPECT_THAT(Names(checkpoints()), ElementsAre("step-00000002"));
}

}  // namespace
}  // namespace polymoe
