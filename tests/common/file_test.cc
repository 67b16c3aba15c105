#include "common/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(File, DurableWriteReplacesAndLeavesNothingBeside) {
  const TempDir dir;
  const std::string path = dir.path() + "/a";
  ASSERT_TRUE(WriteFileDurably(path, "one").ok());
  ASSERT_TRUE(WriteFileDurably(path, "two").ok());
  EXPECT_EQ(*ReadFile(path), "two");
  EXPECT_THAT(*ListDirectory(dir.path()), ElementsAre("a"));
}

TEST(File, ErrorsNamePathAndReason) {
  const absl::Status missing = ReadFile("/nowhere/x").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("cannot open /nowhere/x: No such file"));
  EXPECT_EQ(WriteFileDurably("/nowhere/x", "").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::Open("/").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(File, AFullDiskIsResourceExhausted) {
  // /dev/full fails every write with ENOSPC.
  auto file = OutputFile::Create("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Append("x", 1).ok());  // buffered
  EXPECT_EQ(file->FsyncAndClose().code(), absl::StatusCode::kResourceExhausted);
}

TEST(File, MapsWhatWasWritten) {
  const TempDir dir;
  const std::string path = dir.path() + "/m";
  ASSERT_TRUE(WriteFileDurably(path, std::string(100000, 'x')).ok());
  const auto map = MappedFile::Open(path);
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(map->bytes().size(), 100000u);
  EXPECT_EQ(map->bytes()[99999], 'x');
  ASSERT_TRUE(WriteFileDurably(path, "").ok());
  EXPECT_TRUE(MappedFile::Open(path)->bytes().empty());
}

}  // namespace
}  // namespace polymoe
