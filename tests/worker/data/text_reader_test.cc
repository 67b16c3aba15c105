#include "worker/data/text_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/file.h"
#include "common/status.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/files.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

constexpr size_t kChunk = 1 << 18;  // of the readers

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  POLYMOE_ASSIGN_OR_RETURN(const std::unique_ptr<TextReader> reader, TextReader::Open(path));
  std::string text;
  for (;;) {
    const size_t before = text.size();
    POLYMOE_RETURN_IF_ERROR(reader->Read(&text));
    if (text.size() == before) break;
  }
  // At the end the whole file has been read, and it stays at the end.
  POLYMOE_ASSIGN_OR_RETURN(const std::string file, ReadFile(path));
  EXPECT_EQ(reader->position(), file.size());
  const size_t size = text.size();
  POLYMOE_RETURN_IF_ERROR(reader->Read(&text));
  EXPECT_EQ(text.size(), size);
  return text;
}

// Every byte value, hard to compress, so that compressed files have several blocks.
std::string Noise(size_t size) {
  std::string text(size, '\0');
  uint64_t state = 1;
  for (char& c : text) {
    state = state * 6364136223846793005 + 1442695040888963407;
    c = static_cast<char>(state >> 56);
  }
  return text;
}

class TextReaderTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) { return WriteText(dir_.path() + "/" + name, content); }
  TempDir dir_;
};

TEST_F(TextReaderTest, ReadsEverySizeAroundAChunkInEveryFormat) {
  for (const size_t size : {size_t{0}, size_t{1}, kChunk - 1, kChunk, kChunk + 1, 2 * kChunk, 3 * kChunk + 7}) {
    for (const std::string& text : {Noise(size), std::string(size, 'a')}) {
      const std::vector<std::pair<std::string, std::string>> files = {
          {"a.txt", text}, {"a.txt.gz", Gzip(text)}, {"a.txt.zst", Zstd(text)}};
      for (const auto& [name, content] : files) {
        const absl::StatusOr<std::string> read = ReadAll(Write(name, content));
        ASSERT_TRUE(read.ok()) << name << " of " << size << ": " << read.status();
        EXPECT_TRUE(*read == text) << name << " of " << size << " bytes came back as " << read->size();
      }
    }
  }
}

TEST_F(TextReaderTest, ConcatenatedMembersAndFramesAreOneText) {
  EXPECT_EQ(*ReadAll(Write("a.gz", Gzip("one ") + Gzip("two"))), "one two");
  EXPECT_EQ(*ReadAll(Write("a.zst", Zstd("one ") + Zstd("two"))), "one two");
}

TEST_F(TextReaderTest, EveryTruncationIsAnError) {
  const std::string text = Noise(600);
  for (const auto& [name, content] : {std::pair{"a.gz", Gzip(text)}, std::pair{"a.zst", Zstd(text)}}) {
    for (size_t size = 0; size < content.size(); ++size) {
      const absl::Status status = ReadAll(Write(name, content.substr(0, size))).status();
      ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << name << " cut to " << size << ": " << status;
      ASSERT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(dir_.path(), "/", name)));
    }
  }
}

TEST_F(TextReaderTest, DamageIsAnError) {
  std::string gz = Gzip(Noise(100000));
  gz[50000] ^= 1;
  EXPECT_EQ(ReadAll(Write("a.gz", gz)).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReadAll(Write("b.gz", "this is plain text")).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReadAll(Write("b.zst", "this is plain text")).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(TextReaderTest, AMissingFileIsNotFound) {
  for (const char* name : {"none.txt", "none.gz", "none.zst"}) {
    const absl::Status status = TextReader::Open(dir_.path() + "/" + name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

}  // namespace
}  // namespace polymoe
