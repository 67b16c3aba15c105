// Several ranks, as threads that meet in a group of the test: they share a batch, end with the same bits, and fail together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/worker/train/tiny_training.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

constexpr int kRanks = 2;

// Where the ranks meet, and where their values lie while they are added up, in the order of the ranks.
struct Meeting {
  std::barrier<> barrier{kRanks};
  std::atomic<bool> left = false;  // a rank's run has ended: nobody waits for it any more
  absl::Span<float> floats[kRanks];
  absl::Span<double> doubles[kRanks];
};

class ThreadGroup final : public Group {
 public:
  ThreadGroup(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  ~ThreadGroup() override {
    meeting_.left = true;
    meeting_.barrier.arrive_and_drop();
  }
  int rank() const override { return rank_; }
  int size() const override { return kRanks; }
  absl::Status AllReduceSum(absl::Span<float> values) override { return Reduce(meeting_.floats, values); }
  absl::Status AllReduceSum(absl::Span<double> values) override { return Reduce(meeting_.doubles, values); }

 private:
  template <typename T>
  absl::Status Reduce(absl::Span<T> (&all)[kRanks], absl::Span<T> mine) {
    all[rank_] = mine;
    meeting_.barrier.arrive_and_wait();
    if (meeting_.left) return absl::AbortedError("a rank has left");
    std::vector<T> sums(mine.size());
    for (const absl::Span<T>& values : all) {
      EXPECT_EQ(values.size(), sums.size());
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
    }
    meeting_.barrier.arrive_and_wait();
    std::copy(sums.begin(), sums.end(), mine.begin());
    return absl::OkStatus();
  }

  Meeting& meeting_;
  const int rank_;
};

class Ranks : public TinyTraining {
 protected:
  // One run of all ranks. Rank r looks at the r-th folder for checkpoints.
  std::vector<TrainingRun> TrainTogether(const v1::JobFile& file, const std::vector<std::string>& folders) const {
    Meeting meeting;
    std::vector<TrainingRun> runs(kRanks);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank) {
      threads.emplace_back([&, rank] {
        ThreadGroup group(meeting, rank);
        runs[rank] = Train(file, {.checkpoint_dir = folders[rank]}, group);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return runs;
  }
};

TEST_F(Ranks, ShareTheBatchAndEndWithTheSameBits) {
  v1::JobFile file = Job(3);
  file.mutable_spec()->mutable_train()->set_load_balance_loss(0);
  const auto runs = TrainTogether(file, {checkpoints(), checkpoints()});
  for (const TrainingRun& run : runs) ASSERT_TRUE(run.outcome.ok()) << run.outcome.status();
  EXPECT_EQ(runs[0].parameters, runs[1].parameters);
  const TrainingRun alone = TrainToEnd(file);
  const double loss = alone.Series("loss").at(1), norm = alone.Series("grad_norm").at(1);
  EXPECT_NEAR(runs[0].Series("loss").at(1), loss, 1e-6 * loss);
  EXPECT_NEAR(runs[0].Series("grad_norm").at(1), norm, 1e-6 * norm);
  EXPECT_TRUE(runs[1].Series("loss").empty()) << "rank 0 reports for all";
  EXPECT_EQ(runs[1].events.size(), 1u) << "but each says that it has started";
}

TEST_F(Ranks, ThatSeeDifferentCheckpointsDoNotStart) {
  TrainToEnd(Job(2), {.checkpoint_dir = checkpoints("x")});
  const auto runs = TrainTogether(Job(4), {checkpoints("x"), checkpoints("y")});
  EXPECT_THAT(std::string(runs[1].outcome.status().message()), HasSubstr("rank 1 resumed at step 0, rank 0 at 2"));
  EXPECT_EQ(runs[0].outcome.status().message(), "another rank failed; its own message says why");
}

TEST_F(Ranks, FailTogetherWhenTheFirstCannotSave) {
  v1::JobFile file = Job(4);
  file.mutable_spec()->mutable_checkpoint()->set_every_tokens(2 * kStepTokens);
  // A link to nothing: no checkpoints to begin with, and no place to put one.
  std::filesystem::create_symlink(dir_.path() + "/nowhere/at/all", checkpoints());
  const auto runs = TrainTogether(file, {checkpoints(), checkpoints()});
  EXPECT_THAT(std::string(runs[0].outcome.status().message()), HasSubstr("checkpoint of step 2"));
  EXPECT_EQ(runs[1].outcome.status().message(), "another rank failed; its own message says why");
  EXPECT_EQ(runs[0].state.step, 2u);
  EXPECT_EQ(runs[1].state.step, 2u);
}

}  // namespace
}  // namespace polymoe
