#include "worker/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstring>
#include <string>
#include <vector>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

// A file with this header and so many data bytes.
std::string FileOf(const std::string& header, size_t data) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof(length));
  return file + header + std::string(data, 'x');
}

std::string ErrorOf(const std::string& content) {
  const TempDir dir;
  EXPECT_TRUE(WriteFileDurably(dir.path() + "/t", content).ok());
  const absl::Status status = SafetensorsFile::Open(dir.path() + "/t").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << content;
  return std::string(status.message());
}

TEST(Safetensors, RoundTripsWithScalarsAndEmptyTensors) {
  const TempDir dir;
  std::vector<float> a = {1, -2, 3.5f}, b = {7};
  const TensorRef tensors[] = {{"b", {}, b.data()}, {"a", {3, 1}, a.data()}, {"none", {0, 4}, nullptr}};
  ASSERT_TRUE(WriteSafetensors(dir.path() + "/t", tensors).ok());
  const std::string text = *ReadFile(dir.path() + "/t");
  uint64_t length;
  std::memcpy(&length, text.data(), 8);
  EXPECT_EQ(length % 8, 0u) << "data must be aligned";
  EXPECT_THAT(text.substr(8, length), HasSubstr("\"__metadata__\":{\"format\":\"pt\"}"));
  const auto file = SafetensorsFile::Open(dir.path() + "/t");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors().at("a").shape, (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(file->tensors().at("a").data[2], 3.5f);
  EXPECT_EQ(file->tensors().at("b").data[0], 7);
  EXPECT_TRUE(file->tensors().contains("none"));
}

TEST(Safetensors, RefusesWhatTheFormatForbids) {
  EXPECT_THAT(ErrorOf("abc"), HasSubstr("length field"));
  EXPECT_THAT(ErrorOf(std::string(8, '\xff')), HasSubstr("truncated header"));
  EXPECT_THAT(ErrorOf(FileOf("{oops", 0)), HasSubstr("parse error"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}})", 2)), HasSubstr("not F32"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4)), HasSubstr("size of a"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8)), HasSubstr("hole or overlap"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4)), HasSubstr("truncated in a"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5)), HasSubstr("behind the last tensor"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4)), HasSubstr("size of a"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0)),
              HasSubstr("size of a"));
}

TEST(Safetensors, RandomBytesNeverCrash) {
  const TempDir dir;
  const bool holds = rc::check([&](const std::string& junk, bool as_header) {
    RC_ASSERT(WriteFileDurably(dir.path() + "/t", as_header ? FileOf(junk, 16) : junk).ok());
    const auto file = SafetensorsFile::Open(dir.path() + "/t");
    RC_ASSERT(file.ok() || !file.status().message().empty());
  });
  EXPECT_TRUE(holds);
}

}  // namespace
}  // namespace polymoe
