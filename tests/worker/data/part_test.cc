#include "worker/data/part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/files.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

class PartTest : public ::testing::TestWithParam<uint32_t> {  // vocabulary
 protected:
  std::string path() const { return dir_.path() + "/000000"; }
  void WriteTwo() {
    auto writer = PartWriter::Create(path(), GetParam());
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE(writer->Add({.hash = 1, .bytes = 2, .tokens = {3, GetParam() - 1}}).ok());
    ASSERT_TRUE(writer->Add({.hash = ~uint64_t{0}, .bytes = 5, .tokens = {6}}).ok());
    ASSERT_TRUE(writer->Finish().ok());
  }
  TempDir dir_;
};

TEST_P(PartTest, RoundTrip) {
  WriteTwo();
  std::vector<PartDocument> documents;
  const absl::Status status = ReadPart(path(), GetParam(), [&](const PartDocument& document) {
    documents.push_back(document);
    return absl::OkStatus();
  });
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0].hash, 1u);
  EXPECT_EQ(documents[0].bytes, 2u);
  EXPECT_THAT(documents[0].tokens, ElementsAre(3, GetParam() - 1));
  EXPECT_EQ(documents[1].hash, ~uint64_t{0});
  EXPECT_THAT(documents[1].tokens, ElementsAre(6));
}

TEST_P(PartTest, AnUnfinishedPartIsNotThere) {
  auto writer = PartWriter::Create(path(), GetParam());
  ASSERT_TRUE(writer->Add({.tokens = {1}}).ok());
  EXPECT_FALSE(PathExists(path()));
}

TEST_P(PartTest, TruncationIsDataLoss) {
  WriteTwo();
  const std::string good = *ReadFile(path());
  const size_t first = 24 + 2 * (GetParam() > 65536 ? 4 : 2);
  for (size_t size = 1; size < good.size(); ++size) {
    if (size == first) continue;  // a whole part of one document
    WriteText(path(), good.substr(0, size));
    const absl::Status status = ReadPart(path(), GetParam(), [](const PartDocument&) { return absl::OkStatus(); });
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << "cut to " << size;
  }
}

INSTANTIATE_TEST_SUITE_P(BothWidths, PartTest, ::testing::Values(300, 70000));

}  // namespace
}  // namespace polymoe
