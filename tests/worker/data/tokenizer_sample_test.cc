#include "worker/data/tokenizer_sample.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/files.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TokenizerSampleTest : public ::testing::Test {
 protected:
  void Add(const std::string& content) {
    const std::string path = absl::StrCat(dir_.path(), "/", inputs_.size(), ".txt");
    inputs_.push_back({.path = WriteText(path, content), .bytes = content.size()});
  }
  std::vector<std::string> Sample(size_t bytes) { return *SampleLines(inputs_, "text", bytes); }
  static size_t Bytes(const std::vector<std::string>& lines) {
    return std::accumulate(lines.begin(), lines.end(), size_t{0}, [](size_t sum, const std::string& s) { return sum + s.size(); });
  }
  std::vector<Input> inputs_;
  TempDir dir_;
};

TEST_F(TokenizerSampleTest, TakesAllOfLittleTextButEmptyLines) {
  Add("one\n\n  two\n \nthree");
  Add("four\n");
  EXPECT_THAT(Sample(1000), ElementsAre("one", "  two", "three", "four"));
}

TEST_F(TokenizerSampleTest, TakesFromEachInputByItsSize) {
  std::string large, small;
  for (int i = 0; i < 150'000; ++i) large += "large large\n\n";
  for (int i = 0; i < 50'000; ++i) small += "small small\n\n";
  Add(large);
  Add(small);
  std::map<std::string, size_t> counts;
  for (const std::string& line : Sample(400'000)) ++counts[line];
  // Documents of 16 KiB are taken whole, so each share is reached to one document of 1260 lines of 13 bytes.
  EXPECT_NEAR(counts["large large"], 300'000 / 13, 1300);
  EXPECT_NEAR(counts["small small"], 100'000 / 13, 1300);
}

TEST_F(TokenizerSampleTest, ManySmallFilesGiveNoMoreAndComeFromAllOver) {
  for (int i = 0; i < 500; ++i) Add(std::string(1000, 'a' + i / 50));
  const std::vector<std::string> lines = Sample(50'000);
  EXPECT_NEAR(Bytes(lines), 50'000, 1000);
  std::map<char, int> counts;
  for (const std::string& line : lines) ++counts[line[0]];
  ASSERT_EQ(counts.size(), 10u);
  for (const auto& [letter, count] : counts) EXPECT_NEAR(count, 5, 1) << letter;
}

TEST_F(TokenizerSampleTest, LongLinesComeInWholePieces) {
  std::string words, signs;
  while (words.size() < 10'000) words += "word ";
  while (signs.size() < 10'000) signs += "€";
  for (const std::string& text : {words, signs}) {
    inputs_.clear();
    Add(text);
    const std::vector<std::string> lines = Sample(100'000);
    EXPECT_GT(lines.size(), 4u);
    for (const std::string& line : lines) {
      EXPECT_LE(line.size(), 2000u);
      // Cut at a space, or between characters.
      EXPECT_TRUE(text == words ? line.ends_with("word") || line.ends_with(" ") : line.size() % 3 == 0);
    }
    EXPECT_EQ(absl::StrJoin(lines, ""), text);
  }
}

TEST_F(TokenizerSampleTest, AnUnreadableInputIsAnError) {
  Add("text");
  inputs_.push_back({.path = dir_.path() + "/none.txt", .bytes = 100});
  const absl::Status status = SampleLines(inputs_, "text", 1000).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("none.txt"));
}

}  // namespace
}  // namespace polymoe
