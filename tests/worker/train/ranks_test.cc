// Several ranks, as threads: at every layout they train the same model, repeat to the bit, resume from each other's checkpoints, and fail
// together.
//
// Tolerance: losses and norms are sums of some thousand fp32 terms, in another order at each layout; the relative difference of two
// orders is a few 1e-7. AdamW divides by the size of the gradient, so that a gradient which is all rounding moves its parameter by a
// whole step: at a rate of 0.001 that does not add up to 1e-6, the project's bound, within 20 steps; at 0.01 it does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/worker/train/tiny_training.h"
#include "worker/parallel/thread_transport.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kClose = 1e-6;
constexpr absl::Duration kDeadline = absl::Seconds(60);

struct LayoutCase {
  int ranks, expert_parallel, micro_batch;
};

void PrintTo(const LayoutCase& l, std::ostream* os) {
  *os << l.ranks << " ranks, experts shared by " << l.expert_parallel << ", micro-batches of " << l.micro_batch;
}

class RanksTest : public TinyTraining {
 protected:
  // One run of all ranks. Rank r looks for checkpoints in folders[r], all in the one there is else.
  std::vector<TrainingRun> TrainTogether(v1::JobFile file, const LayoutCase& layout, const std::vector<std::string>& folders,
                                         const std::string& resume = "auto") const {
    file.mutable_spec()->mutable_resources()->set_ranks(layout.ranks);
    file.mutable_spec()->mutable_resources()->set_expert_parallel(layout.expert_parallel);
    file.mutable_spec()->mutable_train()->set_micro_batch(layout.micro_batch);
    std::vector<std::unique_ptr<Transport>> transports = ConnectThreads(layout.ranks);
    std::vector<TrainingRun> runs(layout.ranks);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < layout.ranks; ++rank) {
      threads.emplace_back([&, rank] {
        omp_set_num_threads(1);
        Ranks ranks = MakeRanks(std::move(transports[rank]), layout.expert_parallel, kDeadline);
        runs[rank] = Train(file, {.checkpoint_dir = folders[rank % folders.size()], .resume = resume}, ranks);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return runs;
  }
  TrainingRun TrainOn(const v1::JobFile& file, const LayoutCase& layout, const std::string& folder,
                      const std::string& resume = "auto") const {
    std::vector<TrainingRun> runs = TrainTogether(file, layout, {folder}, resume);
    for (const TrainingRun& run : runs) EXPECT_TRUE(run.outcome.ok()) << run.outcome.status();
    return std::move(runs[0]);
  }

  // Experts with coefficients of their own, losses of the router that are felt, and an objective that no split changes.
  v1::JobFile SharedJob(int steps) const {
    v1::JobFile file = Job(steps);
    v1::JobSpec& spec = *file.mutable_spec();
    spec.mutable_model()->mutable_activation()->set_coefficients(v1::COEFFICIENT_SCOPE_EXPERT);
    spec.mutable_train()->set_load_balance_sequences(1);
    spec.mutable_train()->set_load_balance_loss(0.1);
    spec.mutable_train()->set_z_loss(0.01);
    spec.mutable_train()->set_learning_rate(0.001);
    return file;
  }

  static void ExpectClose(const TrainingRun& got, const TrainingRun& want, const std::string& name) {
    const auto series = want.Series(name);
    ASSERT_EQ(got.Series(name).size(), series.size()) << name;
    for (const auto& [step, value] : series)
      EXPECT_NEAR(got.Series(name).at(step), value, kClose * value) << name << " of step " << step;
  }
};

class Layouts : public RanksTest, public ::testing::WithParamInterface<LayoutCase> {};

TEST_P(Layouts, TrainTheSameModel) {
  Write("near", ChainTokens(700, 2));
  v1::JobFile file = SharedJob(20);
  AddValidation(file, "near");
  const TrainingRun alone = TrainOn(file, {1, 1, kBatch}, checkpoints("alone"));
  const TrainingRun run = TrainOn(file, GetParam(), checkpoints("together"));
  for (const char* name :
       {"loss", "grad_norm", "load_balance_loss", "z_loss", "val_loss/near", "coef/1/3/w2", "router_entropy/0"}) {
    ExpectClose(run, alone, name);
  }
  for (int layer = 0; layer < 2; ++layer) {
    for (int expert = 0; expert < 4; ++expert) {
      const std::string load = absl::StrCat("router_load/", layer, "/", expert);
      EXPECT_EQ(run.Series(load), alone.Series(load)) << "the same tokens go to the same experts";
    }
  }
  const TrainingRun again = TrainOn(file, GetParam(), checkpoints("again"));
  EXPECT_EQ(again.Series("loss"), run.Series("loss")) << "the same bits";
  EXPECT_EQ(again.Series("grad_norm"), run.Series("grad_norm"));
  EXPECT_EQ(again.parameters, run.parameters);
}

TEST_P(Layouts, SaveWhatAnyOtherLoads) {
  v1::JobFile file = SharedJob(8);
  file.mutable_spec()->mutable_checkpoint()->set_every_tokens(4 * kStepTokens);
  const TrainingRun alone = TrainOn(file, {1, 1, 4}, checkpoints("alone"));
  const TrainingRun together = TrainOn(file, GetParam(), checkpoints("together"));
  ASSERT_THAT(together.SavedSteps(), ElementsAre(4, 8));
  // Back to one rank, and from one rank to these.
  const TrainingRun back = TrainOn(file, {1, 1, 4}, checkpoints("back"), checkpoints("together") + "/step-00000004");
  const TrainingRun forth = TrainOn(file, GetParam(), checkpoints("forth"), checkpoints("alone") + "/step-00000004");
  for (const TrainingRun* run : {&back, &forth}) {
    for (const uint64_t step : {5, 6, 7, 8}) {
      EXPECT_NEAR(run->Series("loss").at(step), alone.Series("loss").at(step), kClose * 5) << step;
    }
    EXPECT_EQ(run->Series("loss").size(), 4u);
  }
  // On the same layout, the same bits as without a stop.
  const TrainingRun resumed = TrainOn(file, GetParam(), checkpoints("resumed"), checkpoints("together") + "/step-00000004");
  for (const uint64_t step : {5, 6, 7, 8}) EXPECT_EQ(resumed.Series("loss").at(step), together.Series("loss").at(step)) << step;
  EXPECT_EQ(resumed.parameters, together.parameters);
}

INSTANTIATE_TEST_SUITE_P(All, Layouts,
                         ::testing::Values(LayoutCase{1, 1, 2}, LayoutCase{2, 1, 2}, LayoutCase{2, 2, 4}, LayoutCase{2, 2, 1},
                                           LayoutCase{4, 1, 1}, LayoutCase{4, 2, 2}, LayoutCase{4, 4, 1}, LayoutCase{8, 4, 1},
                                           LayoutCase{8, 1, 1}));

TEST_P(Layouts, AnalyseTheSame) {
  Write("near", ChainTokens(43 * kLength + 1, 2));
  v1::JobFile file = SharedJob(4);
  AddValidation(file, "near");
  v1::AnalysisSpec& analyses = *file.mutable_spec()->mutable_metrics()->mutable_analyses();
  analyses.set_effective_rank(true);
  analyses.set_layer_cosine(true);
  analyses.set_activation_moments(true);
  analyses.set_every_tokens(2 * kStepTokens);
  // In bf16 the weights themselves differ by the rounding of sums that travel; what they were at the start is much farther away.
  for (const auto& [precision, tolerance] : {std::pair(v1::PRECISION_FP32, 1e-5), std::pair(v1::PRECISION_BF16, 2e-2)}) {
    if (precision == v1::PRECISION_BF16 && !CpuHasBf16()) continue;
    file.mutable_spec()->mutable_train()->set_precision(precision);
    const std::string p = absl::StrCat(precision);
    const TrainingRun alone = TrainOn(file, {1, 1, kBatch}, checkpoints("alone" + p));
    const TrainingRun run = TrainOn(file, GetParam(), checkpoints("together" + p));
    const TrainingRun again = TrainOn(file, GetParam(), checkpoints("again" + p));
    for (const char* name : {"effective_rank/0/up", "effective_rank/1/down", "layer_cosine/0/1", "act_mean/1", "act_std/0",
                             "act_abs_max/1", "act_zero_share/0"}) {
      const auto want = alone.Series(name);
      ASSERT_EQ(want.size(), 2u) << name;
      ASSERT_EQ(run.Series(name).size(), 2u) << name;
      for (const auto& [step, value] : want)
        EXPECT_NEAR(run.Series(name).at(step), value, tolerance * (std::abs(value) + 0.1)) << name;
      EXPECT_EQ(again.Series(name), run.Series(name)) << name;
    }
  }
}

// Every token is the same, so that all go to one expert; the rank that holds it has all the work, the others none.
TEST_F(RanksTest, AgreeWhereOneExpertGetsEverything) {
  Write("train", std::vector<uint32_t>(4001, 7));
  v1::JobFile file = SharedJob(20);
  file.mutable_spec()->mutable_model()->set_top_k(1);
  file.mutable_spec()->mutable_train()->set_learning_rate(1e-4);  // such text is soon learnt, and a loss near 0 has few digits
  const TrainingRun alone = TrainOn(file, {1, 1, 8}, checkpoints("alone"));
  double most = 0;
  for (int expert = 0; expert < 4; ++expert) most = std::max(most, alone.Series(absl::StrCat("router_load/0/", expert)).at(20));
  ASSERT_EQ(most, 1);
  for (const LayoutCase& layout : {LayoutCase{2, 2, 4}, LayoutCase{4, 4, 2}, LayoutCase{4, 2, 1}}) {
    const TrainingRun run = TrainOn(file, layout, checkpoints(absl::StrCat(layout.ranks, layout.expert_parallel)));
    ExpectClose(run, alone, "loss");
    ExpectClose(run, alone, "grad_norm");
  }
}

// bf16 rounds the sums that travel once more; the run stays as close to fp32's as one rank's in bf16 does: 3% of the loss at the start.
TEST_F(RanksTest, InBf16LearnTheSame) {
  if (!CpuHasBf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  v1::JobFile file = SharedJob(20);
  const auto exact = TrainOn(file, {1, 1, 8}, checkpoints("fp32")).Series("loss");
  file.mutable_spec()->mutable_train()->set_precision(v1::PRECISION_BF16);
  const auto alone = TrainOn(file, {1, 1, 8}, checkpoints("alone")).Series("loss");
  const TrainingRun run = TrainOn(file, {4, 2, 2}, checkpoints("together"));
  for (const auto& [step, loss] : run.Series("loss")) {
    EXPECT_NEAR(loss, exact.at(step), 0.03 * exact.at(1)) << step << ", alone " << alone.at(step);
  }
  EXPECT_EQ(TrainOn(file, {4, 2, 2}, checkpoints("again")).parameters, run.parameters) << "the same bits again";
}

TEST_F(RanksTest, RankZeroReportsForAllAndEachIsTimed) {
  const auto runs = TrainTogether(SharedJob(3), {2, 2, 4}, {checkpoints()});
  EXPECT_TRUE(runs[1].Series("loss").empty());
  EXPECT_EQ(runs[1].events.size(), 1u) << "but each says that it has started";
  for (const char* name : {"rank_seconds/0", "rank_seconds/1", "rank_wait_seconds/0", "rank_wait_seconds/1", "bytes_sent"}) {
    EXPECT_EQ(runs[0].Series(name).size(), 3u) << name;
  }
  // All that is sent, but counts and sums, is what the layout cannot do without.
  EXPECT_GE(runs[0].Series("bytes_sent").at(3), runs[0].Series("bytes_needed").at(3));
  EXPECT_LT(runs[0].Series("bytes_sent").at(3), 1.1 * runs[0].Series("bytes_needed").at(3));
}

TEST_F(RanksTest, ThatSeeDifferentCheckpointsDoNotStart) {
  TrainToEnd(Job(2), {.checkpoint_dir = checkpoints("x")});
  const auto runs = TrainTogether(Job(4), {2, 1, 4}, {checkpoints("x"), checkpoints("y")});
  for (const TrainingRun& run : runs) {
    EXPECT_THAT(std::string(run.outcome.status().message()), HasSubstr("rank 1 finds no checkpoint, rank 0 that of step 2"));
  }
}

// What one rank finds damaged, the other may not have read: they go on from the newest that is good for both.
TEST_F(RanksTest, GoBackTogetherToACheckpointThatIsGoodForAll) {
  v1::JobFile file = SharedJob(6);
  file.mutable_spec()->mutable_checkpoint()->set_every_tokens(2 * kStepTokens);
  const TrainingRun whole = TrainOn(file, {2, 2, 4}, checkpoints());
  // The last expert's tensors are of interest to the last rank alone.
  std::string damaged;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(checkpoints() + "/step-00000006")) {
    if (entry.path().filename() == "rank-1.safetensors") damaged = entry.path();
  }
  std::string bytes = *ReadFile(damaged);
  bytes.back() ^= 1;
  ASSERT_TRUE(WriteFileDurably(damaged, bytes).ok());
  const TrainingRun run = TrainOn(file, {2, 2, 4}, checkpoints());
  EXPECT_EQ(run.Series("loss").size(), 2u) << "of steps 5 and 6";
  EXPECT_EQ(run.parameters, whole.parameters);
}

TEST_F(RanksTest, FailTogetherWhenOneCannotSave) {
  v1::JobFile file = Job(400);  // the ranks hear of it long before the next checkpoint is due
  file.mutable_spec()->mutable_checkpoint()->set_every_tokens(200 * kStepTokens);
  // A link to nothing: no checkpoints to begin with, and no place to put one.
  std::filesystem::create_symlink(dir_.path() + "/nowhere/at/all", checkpoints("y"));
  const auto runs = TrainTogether(file, {2, 1, 4}, {checkpoints("x"), checkpoints("y")});
  EXPECT_THAT(std::string(runs[1].outcome.status().message()), HasSubstr("checkpoint of step 200"));
  EXPECT_EQ(runs[0].outcome.status().message(), "another rank failed; its own message says why");
  EXPECT_EQ(runs[0].state.step, runs[1].state.step);
  EXPECT_LT(runs[0].state.step, 400u);
}

}  // namespace
}  // namespace polymoe
