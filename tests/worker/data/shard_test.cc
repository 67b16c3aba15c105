#include "worker/data/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/datasets.h"
#include "tests/worker/data/files.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ShardTest : public ::testing::Test {
 protected:
  std::string path() const { return dir_.path() + "/a.tok"; }
  // A change of the file must be a DATA_LOSS that names it and says what to do.
  void ExpectRefused(const std::string& content, const std::string& what) {
    WriteText(path(), content);
    const absl::Status status = Shard::Open(path()).status();
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << what << ": " << status;
    ASSERT_THAT(std::string(status.message()), AllOf(HasSubstr(path()), HasSubstr("polyctl dataset build"))) << what;
  }
  TempDir dir_;
};

TEST_F(ShardTest, RoundTripInBothWidths) {
  for (const uint32_t vocab : {65536u, 65537u, 4'000'000'000u}) {
    const std::vector<uint32_t> tokens = {0, 1, 65535, 7, vocab > 2'000'000'000 ? 2'000'000'000 : vocab - 1};
    const auto checksum = WriteShard(path(), tokens, vocab);
    ASSERT_TRUE(checksum.ok()) << checksum.status();
    EXPECT_EQ(ReadFile(path())->size(), 32 + tokens.size() * (vocab == 65536 ? 2 : 4));
    const auto shard = Shard::Open(path());
    ASSERT_TRUE(shard.ok()) << shard.status();
    EXPECT_EQ(shard->tokens(), tokens.size());
    EXPECT_EQ(shard->vocab(), vocab);
    EXPECT_EQ(shard->checksum(), *checksum);
    std::vector<int32_t> read(tokens.size());
    shard->Read(0, absl::MakeSpan(read));
    EXPECT_EQ(std::vector<uint32_t>(read.begin(), read.end()), tokens);
    std::vector<int32_t> middle(2);
    shard->Read(2, absl::MakeSpan(middle));
    EXPECT_THAT(middle, ElementsAre(65535, 7));
  }
  EXPECT_THAT(*ListDirectory(dir_.path()), ElementsAre("a.tok"));
}

// The layout that shard.h describes, byte by byte; the checksum is what `python3 -c "import zlib; zlib.crc32(bytes([1, 0, 2, 1]))"` says.
TEST_F(ShardTest, LayoutIsAsDocumented) {
  ASSERT_TRUE(WriteShard(path(), {{1, 258}}, 300).ok());
  const std::string expected("POLYTOK1\2\0\0\0\x2c\1\0\0\2\0\0\0\0\0\0\0CRC_\0\0\0\0\1\0\2\1", 36);
  std::string content = *ReadFile(path());
  const uint32_t checksum = static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>("\1\0\2\1"), 4));
  EXPECT_EQ(content.substr(24, 4), std::string(reinterpret_cast<const char*>(&checksum), 4));
  content.replace(24, 4, "CRC_");
  EXPECT_EQ(content, expected);
}

TEST_F(ShardTest, EveryTruncationIsRefused) {
  for (const uint32_t vocab : {300u, 70000u}) {
    ASSERT_TRUE(WriteShard(path(), Counting(100), vocab).ok());
    const std::string good = *ReadFile(path());
    for (size_t size = 0; size < good.size(); ++size) ExpectRefused(good.substr(0, size), absl::StrCat("cut to ", size));
    ExpectRefused(good + '\0', "a byte more");
  }
}

TEST_F(ShardTest, EveryFlippedBitIsRefused) {
  for (const uint32_t vocab : {300u, 70000u}) {
    ASSERT_TRUE(WriteShard(path(), Counting(100), vocab).ok());
    const std::string good = *ReadFile(path());
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
      // The vocabulary stands in the manifest too, where Dataset::Open compares it (dataset_test).
      if (bit / 8 >= 12 && bit / 8 < 16) continue;
      std::string bad = good;
      bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
      ExpectRefused(bad, absl::StrCat("bit ", bit));
    }
  }
}

TEST_F(ShardTest, TokensOutsideTheVocabularyAreRefused) {
  ASSERT_TRUE(WriteShard(path(), {{1, 2, 300}}, 300).ok());
  ExpectRefused(*ReadFile(path()), "token 300 of 300");
  ASSERT_TRUE(WriteShard(path(), {{1, 2, 70000}}, 70000).ok());
  ExpectRefused(*ReadFile(path()), "token 70000 of 70000");
}

TEST_F(ShardTest, AnEmptyShardIsFine) {
  ASSERT_TRUE(WriteShard(path(), {}, 300).ok());
  EXPECT_EQ(Shard::Open(path())->tokens(), 0u);
}

TEST_F(ShardTest, AFullDiskIsResourceExhaustedAndKeepsTheOldFile) {
  ASSERT_TRUE(WriteShard(path(), {{1, 2, 3}}, 300).ok());
  // /dev/full fails every write with ENOSPC.
  ASSERT_EQ(symlink("/dev/full", (path() + ".tmp").c_str()), 0);
  const absl::Status status = WriteShard(path(), {{4, 5}}, 300).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(path()));
  EXPECT_EQ(Shard::Open(path())->tokens(), 3u);
}

}  // namespace
}  // namespace polymoe
