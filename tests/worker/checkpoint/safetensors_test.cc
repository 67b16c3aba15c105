// The files are what other programs take for safetensors: checked here against the rules of the format, by other code than writes them.
#include "worker/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/fakes/temp_dir.h"
#include "worker/checkpoint/local_storage.h"

namespace polymoe {
namespace {

using nlohmann::json;

TEST(Safetensors, HeadFollowsTheFormat) {
  std::vector<float> data(100);
  const std::vector<TensorSlab> slabs = {WholeTensor("b", {}, data.data()),
                                         {"a", {9, 2}, 3, 5, data.data()},
                                         {"a", {9, 2}, 7, 7, data.data()},
                                         WholeTensor("none", {0, 4}, nullptr)};
  const std::string head = SafetensorsHead(slabs, "note \"1\"");
  uint64_t length;
  std::memcpy(&length, head.data(), 8);
  ASSERT_EQ(head.size(), 8 + length);
  EXPECT_EQ(length % 8, 0u) << "data must be aligned";
  EXPECT_EQ(head[8], '{');
  const json header = json::parse(head.substr(8));
  EXPECT_EQ(header.at("__metadata__"), (json{{"format", "pt"}, {"polymoe", "note \"1\""}}));
  EXPECT_EQ(header.at("b"), (json{{"dtype", "F32"}, {"shape", json::array()}, {"data_offsets", {0, 4}}}));
  EXPECT_EQ(header.at("a[3:5]"), (json{{"dtype", "F32"}, {"shape", {2, 2}}, {"data_offsets", {4, 20}}}));
  EXPECT_EQ(header.at("none"), (json{{"dtype", "F32"}, {"shape", {0, 4}}, {"data_offsets", {20, 20}}}));
  EXPECT_EQ(header.size(), 4u) << "no rows, no entry";
}

TEST(Safetensors, TheNoteComesBack) {
  const TempDir dir;
  LocalStorage storage(dir.path());
  std::vector<float> data(4);
  const std::string head = SafetensorsHead({WholeTensor("a", {4}, data.data())}, "n");
  ASSERT_TRUE(storage.Put("t", {head, std::string(16, '\0')}).ok());
  const auto note = ReadSafetensorsNote(storage, "t");
  ASSERT_TRUE(note.ok()) << note.status();
  EXPECT_EQ(note->note, "n");
  EXPECT_EQ(note->data_offset, head.size());
  for (size_t cut = 0; cut < head.size(); ++cut) {
    ASSERT_TRUE(storage.Put("t", {head.substr(0, cut)}).ok());
    EXPECT_EQ(ReadSafetensorsNote(storage, "t").status().code(), absl::StatusCode::kDataLoss) << cut;
  }
}

}  // namespace
}  // namespace polymoe
