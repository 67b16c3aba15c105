#include "worker/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/datasets.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Token i is i, over two shards.
Dataset CountingDataset(const TempDir& dir, uint32_t tokens) {
  const std::vector<uint32_t> all = Counting(tokens);
  const uint32_t half = tokens / 2;
  WriteDataset(dir.path(), {{all.begin(), all.begin() + half}, {all.begin() + half, all.end()}}, tokens + 1);
  absl::StatusOr<Dataset> dataset = Dataset::Open(dir.path(), "train");
  POLYMOE_CHECK(dataset.ok(), "%s", dataset.status().ToString().c_str());
  return *std::move(dataset);
}

TEST(Loader, ReadsAWindowAndItsTargets) {
  const TempDir dir;
  const Dataset dataset = CountingDataset(dir, 14);
  std::vector<int32_t> tokens(4), targets(4);
  ReadWindow(dataset, 2, 4, tokens.data(), targets.data());
  EXPECT_THAT(tokens, ElementsAre(8, 9, 10, 11));
  EXPECT_THAT(targets, ElementsAre(9, 10, 11, 12));
}

TEST(Loader, WindowsNeedATargetForTheirLastToken) {
  for (const auto& [tokens, windows] : {std::pair<uint32_t, uint64_t>{5, 1}, {8, 1}, {9, 2}, {12, 2}, {13, 3}}) {
    const TempDir dir;
    EXPECT_EQ(*CountWindows(CountingDataset(dir, tokens), 4), windows) << tokens;
  }
}

TEST(Loader, ATooShortSplitIsAClearError) {
  const TempDir dir;
  const Dataset dataset = CountingDataset(dir, 4);
  for (const absl::Status& status : {CountWindows(dataset, 4).status(), BatchLoader::Shuffled(dataset, 4, 1).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("has 4 tokens, fewer than one sequence of 4 and its target"));
  }
  const TempDir empty;
  WriteDataset(empty.path(), {}, 10);
  EXPECT_EQ(CountWindows(*Dataset::Open(empty.path(), "train"), 4).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Loader, AnEpochReadsEveryWindowOnce) {
  const TempDir dir;
  constexpr uint32_t kLength = 7, kWindows = 30;
  const Dataset dataset = CountingDataset(dir, kLength * kWindows + 3);
  const auto loader = BatchLoader::Shuffled(dataset, kLength, 5);
  ASSERT_TRUE(loader.ok());
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int32_t> tokens(kLength * kWindows), targets(tokens.size());
    loader->Fill(epoch * kWindows, kWindows, tokens.data(), targets.data());
    std::vector<int> seen(kWindows);
    for (uint32_t i = 0; i < tokens.size(); ++i) {
      EXPECT_EQ(targets[i], tokens[i] + 1);
      if (i % kLength == 0) {
        ++seen[tokens[i] / kLength];
      } else {
        EXPECT_EQ(tokens[i], tokens[i - 1] + 1);
      }
    }
    EXPECT_EQ(seen, std::vector<int>(kWindows, 1)) << "epoch " << epoch;
  }
}

RC_GTEST_PROP(Loader, BatchesCanBeCutAnywhere, (uint64_t seed)) {
  static const TempDir* dir = new TempDir();
  static const Dataset* dataset = new Dataset(CountingDataset(*dir, 500));
  constexpr uint32_t kLength = 5, kCount = 250;
  const auto loader = BatchLoader::Shuffled(*dataset, kLength, seed);
  std::vector<int32_t> tokens(kLength * kCount), targets(tokens.size()), cut_tokens(tokens.size()), cut_targets(tokens.size());
  const auto start = *rc::gen::inRange<uint64_t>(0, uint64_t{1} << 40);
  loader->Fill(start, kCount, tokens.data(), targets.data());
  for (uint32_t done = 0; done < kCount;) {
    const auto count = std::min(kCount - done, *rc::gen::inRange<uint32_t>(1, 40));
    loader->Fill(start + done, count, cut_tokens.data() + done * kLength, cut_targets.data() + done * kLength);
    done += count;
  }
  RC_ASSERT(cut_tokens == tokens);
  RC_ASSERT(cut_targets == targets);
}

}  // namespace
}  // namespace polymoe
