#include "worker/checkpoint/direct_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

std::string RandomBytes(size_t size) {
  std::mt19937_64 random(size);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Around blocks and the buffer, in pieces that end anywhere; on a disk, and on a file system without direct writes.
TEST(DirectFile, HoldsWhatWasGivenToTheByte) {
  const TempDir dir;
  constexpr size_t kBuffer = size_t{4} << 20;
  for (const std::string& folder : {dir.path(), std::string("/dev/shm")}) {
    const std::string path = folder + "/polymoe-direct-file-test";
    for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, kBuffer - 1, kBuffer, kBuffer + 1,
                              2 * kBuffer, 2 * kBuffer + 5001}) {
      const std::string bytes = RandomBytes(size);
      const absl::string_view all(bytes);
      const size_t head = size / 3, middle = size - size / 7;
      const std::vector<absl::string_view> pieces = {all.substr(0, head), "", all.substr(head, middle - head), all.substr(middle)};
      ASSERT_TRUE(WriteFileDirectly(path, pieces).ok()) << path;
      EXPECT_TRUE(*ReadFile(path) == bytes) << path << ", " << size << " bytes";
    }
    ASSERT_TRUE(RemoveTree(path).ok());
  }
}

TEST(DirectFile, ErrorsNameTheFile) {
  const TempDir dir;
  const absl::Status status = WriteFileDirectly(dir.path() + "/nowhere/file", {"x"});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/file: No such file or directory"));
}

}  // namespace
}  // namespace polymoe
