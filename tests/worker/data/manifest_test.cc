#include "worker/data/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_replace.h"

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/files.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

Manifest Example() {
  return {.tokenizer = "spm",
          .vocab = 16384,
          .options = "00ff",
          .splits = {{"heldout",
                      {.shards = {{"h-0.tok", 5, 4294967295}},
                       .tokens = 5,
                       .bytes = 9,
                       .documents = 1,
                       .fingerprint = "ab",
                       .unigram_entropy = 6.25}},
                     {"train",
                      {.shards = {{"t-0.tok", 1ull << 40, 7}, {"t-1.tok", 3, 8}},
                       .tokens = (1ull << 40) + 3,
                       .bytes = 1ull << 42,
                       .documents = 77,
                       .fingerprint = "cd"}}},
          .sources = {{.path = "b/\"x\"", .files = 2, .documents = 70, .tokens = 3, .bytes = 4, .duplicates = 5}, {.path = "a"}}};
}

class ManifestTest : public ::testing::Test {
 protected:
  std::string path() const { return dir_.path() + "/manifest.json"; }
  TempDir dir_;
};

TEST_F(ManifestTest, RoundTrip) {
  ASSERT_TRUE(WriteManifest(dir_.path(), Example()).ok());
  const std::string written = *ReadFile(path());
  const auto read = ReadManifest(dir_.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->splits.at("train").shards[0].tokens, 1ull << 40);
  EXPECT_EQ(read->splits.at("heldout").shards[0].checksum, 4294967295);
  EXPECT_EQ(read->sources[0].path, "b/\"x\"");
  // Every field: what is read writes the same text again.
  ASSERT_TRUE(WriteManifest(dir_.path(), *read).ok());
  EXPECT_EQ(*ReadFile(path()), written);
}

TEST_F(ManifestTest, PathsNeedNotBeUtf8) {
  Manifest manifest = Example();
  manifest.sources[0].path = "\xff\xfe";
  ASSERT_TRUE(WriteManifest(dir_.path(), manifest).ok());
  EXPECT_EQ(ReadManifest(dir_.path())->sources[0].path, "\uFFFD\uFFFD");
}

TEST_F(ManifestTest, NoManifestIsNoDataset) {
  for (const std::string& directory : {dir_.path(), dir_.path() + "/none"}) {
    const absl::Status status = ReadManifest(directory).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr(directory + " is no dataset"));
  }
}

TEST_F(ManifestTest, AnotherVersionSaysSo) {
  WriteText(path(), R"({"version": 99})");
  const absl::Status status = ReadManifest(dir_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path()), HasSubstr("version 99"), HasSubstr("polyctl dataset build")));
}

TEST_F(ManifestTest, WrongTypesAndRangesAreDataLoss) {
  ASSERT_TRUE(WriteManifest(dir_.path(), Example()).ok());
  const std::string good = *ReadFile(path());
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"16384", "-1"},
                                 {"16384", "1e300"},
                                 {"16384", "4294967296"},
                                 {"16384", "\"16384\""},
                                 {"4294967295", "4294967296"},
                                 {"1099511627776", "1.5"},
                                 {"\"t-1.tok\"", "null"},
                                 {"\"shards\"", "\"shard\""},
                                 {"\"sources\"", "\"source\""}}) {
    ASSERT_THAT(good, HasSubstr(from));
    WriteText(path(), absl::StrReplaceAll(good, {{from, to}}));
    const absl::Status status = ReadManifest(dir_.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << from << " -> " << to << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path()));
  }
}

TEST_F(ManifestTest, EveryTruncationIsDataLossAndNoFlippedBitCrashes) {
  ASSERT_TRUE(WriteManifest(dir_.path(), Example()).ok());
  const std::string good = *ReadFile(path());
  for (size_t size = 0; size + 2 < good.size(); ++size) {  // the last two are "}\n"
    WriteText(path(), good.substr(0, size));
    ASSERT_EQ(ReadManifest(dir_.path()).status().code(), absl::StatusCode::kDataLoss) << "cut to " << size;
  }
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    WriteText(path(), bad);
    if (const auto read = ReadManifest(dir_.path()); read.ok()) {
      EXPECT_LE(read->splits.size(), 2u);
    }
  }
}

}  // namespace
}  // namespace polymoe
