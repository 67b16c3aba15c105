#include "worker/data/inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/files.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class InputsTest : public ::testing::Test {
 protected:
  // (path below the folder, source) of what is found.
  std::vector<std::pair<std::string, size_t>> Find(std::vector<std::string> sources, const std::string& output = "out") {
    for (std::string& source : sources) source = dir_.path() + "/" + source;
    const auto inputs = FindInputs(sources, dir_.path() + "/" + output);
    EXPECT_TRUE(inputs.ok()) << inputs.status();
    std::vector<std::pair<std::string, size_t>> found;
    for (const Input& input : *inputs) found.emplace_back(input.path.substr(dir_.path().size() + 1), input.source);
    return found;
  }
  void Write(const std::string& name) { WriteText(dir_.path() + "/" + name, name); }
  TempDir dir_;
};

TEST_F(InputsTest, FoldersAreReadThroughAndAllIsSorted) {
  for (const char* name : {"b/2.txt", "b/10.txt", "b/a/z.txt", "a.txt"}) Write(name);
  EXPECT_THAT(Find({"b", "a.txt"}), ElementsAre(Pair("a.txt", 1), Pair("b/10.txt", 0), Pair("b/2.txt", 0), Pair("b/a/z.txt", 0)));
}

TEST_F(InputsTest, AFileReachedTwiceCountsOnceForTheFirst) {
  Write("b/1.txt");
  EXPECT_THAT(Find({"b/1.txt", "b"}), ElementsAre(Pair("b/1.txt", 0)));
  EXPECT_THAT(Find({"b", "b/1.txt"}), ElementsAre(Pair("b/1.txt", 0)));
}

TEST_F(InputsTest, HiddenFilesDeadLinksAndTheOutputArePassedOver) {
  for (const char* name : {"b/1.txt", "b/.2.txt", "b/.git/3.txt", "b/out/train-00000.tok"}) Write(name);
  std::filesystem::create_symlink("nowhere", dir_.path() + "/b/dead");
  EXPECT_THAT(Find({"b"}, "b/out"), ElementsAre(Pair("b/1.txt", 0)));
}

TEST_F(InputsTest, SizeAndChangeAreSeen) {
  Write("a.txt");
  const Input before = FindInputs({dir_.path() + "/a.txt"}, "out")->front();
  EXPECT_EQ(before.bytes, 5u);
  std::filesystem::last_write_time(before.path, std::filesystem::file_time_type::clock::now() + std::chrono::seconds(1));
  EXPECT_NE(FindInputs({before.path}, "out")->front().modified, before.modified);
}

TEST_F(InputsTest, NothingToReadIsAnError) {
  const absl::Status missing = FindInputs({dir_.path() + "/none"}, "out").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(dir_.path() + "/none: No such file"));
  for (const std::vector<std::string>& sources : {std::vector<std::string>{}, {dir_.path()}}) {
    const absl::Status empty = FindInputs(sources, "out").status();
    EXPECT_EQ(empty.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(empty.message()), HasSubstr("--input"));
  }
}

}  // namespace
}  // namespace polymoe
