#include "worker/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/datasets.h"
#include "tests/worker/data/files.h"

namespace polymoe {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class DatasetTest : public ::testing::Test {
 protected:
  void ExpectRefused(absl::StatusCode code, const std::string& part) {
    const absl::Status status = Dataset::Open(dir_.path(), "train").status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(dir_.path()), HasSubstr(part), HasSubstr("polyctl dataset build")));
  }
  std::string Shard(int i) const { return absl::StrCat(dir_.path(), "/train-", i, ".tok"); }
  TempDir dir_;
};

TEST_F(DatasetTest, SaysWhatTheManifestSays) {
  WriteDataset(dir_.path(), {{1, 2, 3}, {4, 5}}, 300);
  const auto dataset = Dataset::Open(dir_.path(), "train");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->tokens(), 5u);
  EXPECT_EQ(dataset->bytes(), 1234u);
  EXPECT_EQ(dataset->vocab_size(), 300u);
  EXPECT_EQ(dataset->fingerprint(), "0123456789abcdef");
}

RC_GTEST_PROP(Dataset, ShardsAreOneStream, ()) {
  const TempDir dir;
  const uint32_t vocab = *rc::gen::element<uint32_t>(5, 65536, 65537, 1'000'000);
  const auto shards = *rc::gen::resize(20, rc::gen::container<std::vector<std::vector<uint32_t>>>(
                                               rc::gen::container<std::vector<uint32_t>>(rc::gen::inRange<uint32_t>(0, vocab))));
  WriteDataset(dir.path(), shards, vocab);
  std::vector<int32_t> all;
  for (const auto& shard : shards) all.insert(all.end(), shard.begin(), shard.end());
  const auto dataset = Dataset::Open(dir.path(), "train");
  RC_ASSERT(dataset.ok());
  RC_ASSERT(dataset->tokens() == all.size());
  for (int i = 0; i < 20; ++i) {
    const auto begin = *rc::gen::inRange<size_t>(0, all.size() + 1);
    const auto count = *rc::gen::inRange<size_t>(0, all.size() - begin + 1);
    std::vector<int32_t> read(count, -1);
    dataset->Read(begin, absl::MakeSpan(read));
    RC_ASSERT(read == std::vector<int32_t>(all.begin() + begin, all.begin() + begin + count));
  }
}

TEST_F(DatasetTest, AMissingSplitIsNamed) {
  WriteDataset(dir_.path(), {{1, 2, 3}}, 300);
  const absl::Status status = Dataset::Open(dir_.path(), "heldout").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr(dir_.path() + " has no split 'heldout'"));
}

TEST_F(DatasetTest, NoDatasetIsNotFound) {
  ExpectRefused(absl::StatusCode::kNotFound, "is no dataset");
}

TEST_F(DatasetTest, AMissingShardIsNamed) {
  WriteDataset(dir_.path(), {{1, 2, 3}, {4, 5}}, 300);
  std::filesystem::remove(Shard(1));
  ExpectRefused(absl::StatusCode::kNotFound, "train-1.tok");
}

TEST_F(DatasetTest, ShardsThatChangedPlacesAreRefused) {
  WriteDataset(dir_.path(), {{1, 2, 3}, {4, 5, 6}}, 300);
  std::filesystem::rename(Shard(0), Shard(9));
  std::filesystem::rename(Shard(1), Shard(0));
  std::filesystem::rename(Shard(9), Shard(1));
  ExpectRefused(absl::StatusCode::kDataLoss, "train-0.tok is not the shard that manifest.json describes");
}

TEST_F(DatasetTest, AShardOfAnotherVocabularyIsRefused) {
  WriteDataset(dir_.path(), {{1, 2, 3}}, 300);
  ASSERT_TRUE(WriteShard(Shard(0), {{1, 2, 3}}, 301).ok());
  ExpectRefused(absl::StatusCode::kDataLoss, "train-0.tok is not the shard");
}

TEST_F(DatasetTest, AWrongSumIsRefused) {
  WriteDataset(dir_.path(), {{1, 2, 3}}, 300);
  Manifest manifest = *ReadManifest(dir_.path());
  manifest.splits["train"].tokens = 4;
  ASSERT_TRUE(WriteManifest(dir_.path(), manifest).ok());
  ExpectRefused(absl::StatusCode::kDataLoss, "have 3 tokens where manifest.json promises 4");
}

TEST_F(DatasetTest, EveryFlippedBitOfAShardIsRefused) {
  WriteDataset(dir_.path(), {Counting(50)}, 300);
  const std::string good = *ReadFile(Shard(0));
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    WriteText(Shard(0), bad);
    ASSERT_EQ(Dataset::Open(dir_.path(), "train").status().code(), absl::StatusCode::kDataLoss) << "bit " << bit;
  }
}

}  // namespace
}  // namespace polymoe
