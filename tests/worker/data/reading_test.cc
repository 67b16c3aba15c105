// Reading datasets: shards that are whole, and shards that are not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "worker/data/dataset.h"
#include "worker/data/loader.h"
#include "worker/data/manifest.h"
#include "worker/data/shard.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

// A dataset of the numbers 0 .. n-1 in shards of `per_shard`.
void WriteCounting(const std::string& dir, uint32_t n, uint32_t per_shard, uint32_t vocab) {
  Manifest manifest{.tokenizer = "bytes", .vocab = vocab, .options = "test"};
  SplitInfo& split = manifest.splits["train"];
  for (uint32_t begin = 0; begin < n; begin += per_shard) {
    std::vector<uint32_t> tokens(std::min(per_shard, n - begin));
    std::iota(tokens.begin(), tokens.end(), begin);
    split.shards.push_back(absl::StrCat("s", begin));
    ASSERT_TRUE(WriteShard(dir + "/" + split.shards.back(), tokens, vocab).ok());
  }
  split.tokens = split.bytes = n;
  split.fingerprint = "f";
  ASSERT_TRUE(WriteManifest(dir, manifest).ok());
}

TEST(Dataset, ShardsAreOneStream) {
  for (const uint32_t vocab : {60000u, 70000u}) {  // two and four bytes a token
    const TempDir dir;
    WriteCounting(dir.path(), 1000, 300, vocab);
    const auto dataset = Dataset::Open(dir.path(), "train");
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    EXPECT_EQ(dataset->tokens(), 1000u);
    for (const auto& [begin, count] : {std::pair(0, 1000), {299, 2}, {300, 300}, {999, 1}, {0, 0}}) {
      std::vector<int32_t> got(count), want(count);
      dataset->Read(begin, absl::MakeSpan(got));
      std::iota(want.begin(), want.end(), begin);
      EXPECT_EQ(got, want) << begin;
    }
  }
}

TEST(Loader, TargetsAreTheNextTokens) {
  const TempDir dir;
  WriteCounting(dir.path(), 101, 50, 1000);
  const auto dataset = Dataset::Open(dir.path(), "train");
  ASSERT_TRUE(dataset.ok());
  EXPECT_EQ(*CountWindows(*dataset, 10), 10u);
  EXPECT_EQ(*CountWindows(*dataset, 100), 1u);
  EXPECT_EQ(CountWindows(*dataset, 101).status().code(), absl::StatusCode::kFailedPrecondition);
  const auto loader = BatchLoader::Shuffled(*dataset, 10, 7);
  ASSERT_TRUE(loader.ok());
  std::vector<int32_t> tokens(40), targets(40), one(10), one_target(10);
  loader->Fill(3, 4, tokens.data(), targets.data());
  for (int i = 0; i < 40; ++i) EXPECT_EQ(targets[i], tokens[i] + 1);
  for (int i = 0; i < 4; ++i) {  // any batch split sees the same sequences
    loader->Fill(3 + i, 1, one.data(), one_target.data());
    EXPECT_EQ(one, std::vector<int32_t>(tokens.begin() + 10 * i, tokens.begin() + 10 * i + 10));
  }
}

TEST(Dataset, EveryDamagedByteIsNoticed) {
  const TempDir dir;
  WriteCounting(dir.path(), 40, 40, 1000);
  const std::string path = dir.path() + "/s0", whole = *ReadFile(path);
  for (size_t i = 0; i < whole.size(); ++i) {
    if (i >= 12 && i < 16) continue;  // the header's copy of the vocabulary: the manifest decides
    if (i >= 28 && i < 32) continue;  // padding
    std::string broken = whole;
    broken[i] = static_cast<char>(broken[i] ^ 0x40);
    ASSERT_TRUE(WriteFileDurably(path, broken).ok());
    EXPECT_EQ(Dataset::Open(dir.path(), "train").status().code(), absl::StatusCode::kDataLoss) << "byte " << i;
  }
  for (const size_t size : {size_t{0}, size_t{31}, size_t{32}, whole.size() - 1}) {
    ASSERT_TRUE(WriteFileDurably(path, whole.substr(0, size)).ok());
    const absl::Status status = Dataset::Open(dir.path(), "train").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_THAT(std::string(status.message()), HasSubstr("rebuild the dataset")) << size;
  }
}

TEST(Dataset, MissingPiecesSayWhatToDo) {
  const TempDir dir;
  EXPECT_THAT(std::string(Dataset::Open(dir.path(), "train").status().message()),
              HasSubstr("make one with `polyctl dataset build`"));
  WriteCounting(dir.path(), 10, 10, 1000);
  EXPECT_THAT(std::string(Dataset::Open(dir.path(), "heldout").status().message()), HasSubstr("has no split 'heldout'"));
  ASSERT_TRUE(RemoveTree(dir.path() + "/s0").ok());
  EXPECT_EQ(Dataset::Open(dir.path(), "train").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileDurably(dir.path() + "/manifest.json", "{\"version\": 1}").ok());
  EXPECT_EQ(Dataset::Open(dir.path(), "train").status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(WriteFileDurably(dir.path() + "/manifest.json", "{\"version\": 9}").ok());
  EXPECT_EQ(Dataset::Open(dir.path(), "train").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace polymoe
