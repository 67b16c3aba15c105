// Saving and loading: to the bit, between all layouts, and what happens to a checkpoint that is not as it should be.
#include "worker/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <nlohmann/json.hpp>

#include "tests/fakes/temp_dir.h"
#include "tests/worker/checkpoint/sample_state.h"
#include "worker/checkpoint/format.h"
#include "worker/checkpoint/local_storage.h"
#include "worker/checkpoint/safetensors.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

class Checkpoint : public ::testing::Test {
 protected:
  std::string Save(uint64_t step, int ranks = 1, uint32_t attempt = 1) {
    SampleState values(static_cast<float>(step));
    const absl::Status saved = SaveShares(storage_, At(step), values, ranks, attempt);
    EXPECT_TRUE(saved.ok()) << saved;
    return CheckpointName(step);
  }
  // What is wrong with loading everything; that nothing is touched then.
  absl::Status ErrorOf(const std::string& name) {
    SampleState loaded(-1);
    absl::Status status = LoadCheckpoint(storage_, name, "m", loaded.All()).status();
    EXPECT_TRUE(status.ok() || loaded == SampleState(-1)) << status;
    return status;
  }
  // Without the wait for the disk.
  void Write(const std::string& name, const std::string& content) {
    std::ofstream(storage_.Where(name), std::ios::binary) << content;
  }
  std::string Read(const std::string& name) { return storage_.Get(name).value(); }
  // Replaces a JSON file, and vouches for it.
  void Forge(const std::string& name, const std::string& file, const std::string& content) {
    Marker marker = MarkerFromText(Read(name + "/COMMITTED")).value();
    (file == "index.json" ? marker.index_crc32 : marker.trainer_crc32) = Crc32(content);
    Write(absl::StrCat(name, "/attempt-1/", file), content);
    Write(name + "/COMMITTED", ToText(marker));
  }

  TempDir dir_;
  LocalStorage storage_{dir_.path()};
};

TEST_F(Checkpoint, RoundTripsToTheBit) {
  const std::string name = Save(3);
  SampleState loaded(-1);
  const auto state = LoadCheckpoint(storage_, name, "m", loaded.All());
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(loaded, SampleState(3));
  EXPECT_EQ(ToJson(*state), ToJson(At(3)));
}

TEST_F(Checkpoint, AnyLayoutLoadsAnyOther) {
  for (int saving = 1; saving <= 9; ++saving) {
    const std::string name = Save(saving, saving);
    for (int loading = 1; loading <= 9; ++loading) {
      SampleState loaded(-1);
      for (int rank = 0; rank < loading; ++rank) {
        const auto state = LoadCheckpoint(storage_, name, "m", loaded.Share(rank, loading));
        ASSERT_TRUE(state.ok()) << state.status();
      }
      EXPECT_EQ(loaded, SampleState(static_cast<float>(saving))) << "saved by " << saving << " ranks, loaded by " << loading;
    }
  }
}

TEST_F(Checkpoint, AnyRowsCanBeLoaded) {
  const std::string name = Save(1, 3);
  EXPECT_TRUE(rc::check([&] {
    SampleState loaded(-1), expected(-1), saved(1);
    std::vector<TensorSlab> wanted;
    for (const auto& [tensor, shape] : SampleState::Shapes()) {
      const auto begin = *rc::gen::inRange<int64_t>(0, RowsOf(shape) + 1),
                 end = *rc::gen::inRange<int64_t>(begin, RowsOf(shape) + 1);
      wanted.push_back(loaded.Slab(tensor, begin, end));
      const TensorSlab from = saved.Slab(tensor, begin, end), to = expected.Slab(tensor, begin, end);
      std::copy(from.data, from.data + from.size(), to.data);
    }
    RC_ASSERT(LoadCheckpoint(storage_, name, "m", wanted).ok());
    RC_ASSERT(loaded == expected);
  }));
}

TEST_F(Checkpoint, EveryDamageIsNoticedAndTouchesNothing) {
  const std::string name = Save(1, 2);
  for (const std::string file : {"attempt-1/rank-0.safetensors", "attempt-1/index.json", "attempt-1/trainer.json", "COMMITTED"}) {
    const std::string object = absl::StrCat(name, "/", file), whole = Read(object);
    ASSERT_TRUE(storage_.Delete(object).ok());
    EXPECT_EQ(ErrorOf(name).code(), file == "COMMITTED" ? absl::StatusCode::kNotFound : absl::StatusCode::kDataLoss) << file;
    for (const size_t cut : {size_t{0}, whole.size() / 2, whole.size() - 2}) {
      Write(object, whole.substr(0, cut));
      EXPECT_EQ(ErrorOf(name).code(), absl::StatusCode::kDataLoss) << file << " cut to " << cut;
    }
    // The head of a tensors file is for other programs; we find the data by the index.
    Write(object, whole);
    for (size_t i = absl::EndsWith(file, "safetensors") ? ReadSafetensorsNote(storage_, object)->data_offset : 0; i < whole.size();
         ++i) {
      std::string broken = whole;
      broken[i] = static_cast<char>(broken[i] ^ 1);
      Write(object, broken);
      EXPECT_FALSE(ErrorOf(name).ok()) << file << ", bit of byte " << i;
    }
    Write(object, whole);
    EXPECT_TRUE(ErrorOf(name).ok());
  }
  EXPECT_THAT(std::string(ErrorOf("step-00000009").message()),
              HasSubstr("no complete checkpoint at " + dir_.path() + "/step-00000009"));
}

TEST_F(Checkpoint, ARankVerifiesWhatItReadsAndNothingElse) {
  const std::string name = Save(1, 2), object = name + "/attempt-1/rank-1.safetensors";
  std::string bytes = Read(object);
  bytes.back() ^= 1;  // in the last row of w
  Write(object, bytes);
  SampleState loaded(-1);
  EXPECT_TRUE(LoadCheckpoint(storage_, name, "m", loaded.Share(0, 2)).ok());
  const absl::Status other = LoadCheckpoint(storage_, name, "m", loaded.Share(1, 2)).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(other.message()), HasSubstr("rows [3, 7) of w in rank-1.safetensors do not match their checksum"));
}

TEST_F(Checkpoint, AnotherModelIsTheUsersMistakeNotDamage) {
  const std::string name = Save(1);
  SampleState state(1);
  const auto error = [&](const std::string& model, const TensorSlab& slab) {
    const absl::Status status = LoadCheckpoint(storage_, name, model, {slab}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  std::vector<float> data(20);
  EXPECT_THAT(error("other", WholeTensor("w", {7, 2}, data.data())), HasSubstr("it has m, the job has other"));
  EXPECT_THAT(error("m", WholeTensor("w", {2, 7}, data.data())), HasSubstr("w has shape [7,2], this model needs [2,7]"));
  EXPECT_THAT(error("m", WholeTensor("extra", {1}, data.data())), HasSubstr("has no tensor extra"));
  Write(name + "/COMMITTED", "1\n");  // as version 2 had it
  EXPECT_THAT(error("m", WholeTensor("w", {7, 2}, data.data())), HasSubstr("it has format version 2, this program reads 3"));
}

TEST_F(Checkpoint, AnIndexThatContradictsItselfIsDamage) {
  const std::string name = Save(1, 2), index = Read(name + "/attempt-1/index.json");
  const auto error = [&](const std::string& from, const std::string& to) {
    const std::string forged = absl::StrReplaceAll(index, {{from, to}});
    EXPECT_NE(forged, index) << from;
    Forge(name, "index.json", forged);
    const absl::Status status = ErrorOf(name);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    return std::string(status.message());
  };
  // w is [7, 2], in the boxes [0, 3) and [3, 7).
  EXPECT_THAT(error(R"("shape":[3,2],"start":[0,0])", R"("shape":[2,2],"start":[0,0])"),
              HasSubstr("rows [2, 3) of tensor w are in no file"));
  EXPECT_THAT(error(R"("shape":[3,2],"start":[0,0])", R"("shape":[4,2],"start":[0,0])"),
              HasSubstr("rows [3, 4) of tensor w are in two places"));
  EXPECT_THAT(error(R"("shape":[4,2],"start":[3,0])", R"("shape":[5,2],"start":[3,0])"),
              HasSubstr("w has a box that is no rows of it"));
  EXPECT_THAT(error(R"("shape":[4,2],"start":[3,0])", R"("shape":[4,2],"start":[3,1])"), HasSubstr("no rows of it"));
  EXPECT_THAT(error(R"("shape":[4,2],"start":[3,0])", R"("shape":[4,2],"start":[-3,0])"), HasSubstr("no rows of it"));
  EXPECT_THAT(error(R"("shape":[4,2],"start":[3,0])", R"("shape":[4],"start":[3])"), HasSubstr("no rows of it"));
  EXPECT_THAT(error("rank-1.safetensors", "../x"), HasSubstr("no rows of it"));
  EXPECT_THAT(error("rank-1.safetensors", "rank-2.safetensors"), HasSubstr("No such file"));
  EXPECT_THAT(error("\"offset\":", "\"offset\":9"), HasSubstr("ends before"));
  EXPECT_THAT(error("\"offset\":", "\"offset\":-"), HasSubstr("no rows of it"));
  EXPECT_THAT(error("[7,2]", "[7,4611686018427387904]"), HasSubstr("impossible shape"));
  EXPECT_THAT(error("\"crc32\"", "\"crc\""), HasSubstr("garbled"));
  for (const char* text : {"", "[]", "null", "{\"w\": 1}", "{\"w\": {\"shape\": \"x\", \"boxes\": []}}"}) {
    Forge(name, "index.json", text);
    EXPECT_EQ(ErrorOf(name).code(), absl::StatusCode::kDataLoss) << text;
  }
}

TEST_F(Checkpoint, GarbledJsonNeverCrashes) {
  const std::string name = Save(1, 2);
  const std::vector<std::string> files = {"index.json", "trainer.json"};
  std::map<std::string, std::string> whole;
  for (const std::string& file : files) whole[file] = Read(absl::StrCat(name, "/attempt-1/", file));
  EXPECT_TRUE(rc::check([&] {
    const std::string file = *rc::gen::elementOf(files);
    std::string text = whole[file];
    text.replace(*rc::gen::inRange<size_t>(0, text.size()), *rc::gen::inRange<size_t>(0, 8), *rc::gen::arbitrary<std::string>());
    Forge(name, file, text);
    SampleState loaded(-1);
    const auto state = LoadCheckpoint(storage_, name, "m", loaded.All());
    RC_ASSERT(state.ok() || loaded == SampleState(-1));
    Forge(name, file, whole[file]);
  }));
}

TEST_F(Checkpoint, SettingAsideRenamesTheFolder) {
  Save(1);
  const std::string name = Save(2);
  ASSERT_TRUE(SetAside(storage_, name).ok());
  EXPECT_EQ(Steps(storage_), std::vector<uint64_t>{1});
  Save(2);
  ASSERT_TRUE(SetAside(storage_, name).ok()) << "in place of the one of before";
  EXPECT_THAT(storage_.List("").value(), ::testing::ElementsAre("step-00000001/", "step-00000002.superseded/"));
}

}  // namespace
}  // namespace polymoe
