// Tensors of more than one box: copied by many threads, read in part.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "tests/fakes/temp_dir.h"
#include "tests/worker/checkpoint/faulty_storage.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/local_storage.h"
#include "worker/checkpoint/writer.h"

namespace polymoe {
namespace {

constexpr int64_t kRows = 5000, kRow = 3000;  // 60 MB

class CountingStorage final : public Storage {
 public:
  explicit CountingStorage(Storage& real) : real_(real) {}
  absl::Status Put(const std::string& name, absl::Span<const absl::string_view> pieces) override { return real_.Put(name, pieces); }
  absl::Status Create(const std::string& name, absl::string_view content) override { return real_.Create(name, content); }
  absl::StatusOr<std::string> Get(const std::string& name) override { return real_.Get(name); }
  absl::Status Read(const std::string& name, uint64_t offset, absl::Span<char> to) override {
    bytes += to.size();
    return real_.Read(name, offset, to);
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override { return real_.List(folder); }
  absl::Status Delete(const std::string& name) override { return real_.Delete(name); }
  absl::Status DeleteFolder(const std::string& folder) override { return real_.DeleteFolder(folder); }
  absl::Status RenameFolder(const std::string& folder, const std::string& to) override { return real_.RenameFolder(folder, to); }
  const std::string& root() const override { return real_.root(); }

  uint64_t bytes = 0;

 private:
  Storage& real_;
};

TEST(LargeCheckpoint, ARankReadsLittleMoreThanItsRows) {
  const TempDir dir;
  LocalStorage local(dir.path());
  CountingStorage storage(local);
  std::vector<float> saved(kRows * kRow), loaded(saved.size(), -1), small = {1, 2, 3};
  std::iota(saved.begin(), saved.end(), 0.5f);
  CheckpointWriter writer(storage, {});
  ASSERT_TRUE(writer
                  .Start({.step = 1, .model = "m"},
                         {WholeTensor("small", {3}, small.data()), WholeTensor("w", {kRows, kRow}, saved.data())})
                  .ok());
  std::vector<float> expected = saved;
  std::fill(saved.begin(), saved.end(), 0);
  ASSERT_TRUE(writer.Wait().ok());
  writer.Commit();
  ASSERT_TRUE(writer.Wait().ok());

  storage.bytes = 0;
  const TensorSlab rows = {"w", {kRows, kRow}, 4000, 4010, loaded.data()};
  ASSERT_TRUE(LoadCheckpoint(storage, "step-00000001", "m", {rows}).ok());
  EXPECT_TRUE(std::equal(loaded.begin(), loaded.begin() + 10 * kRow, expected.begin() + 4000 * kRow));
  EXPECT_EQ(loaded[10 * kRow], -1);
  EXPECT_LE(storage.bytes, 32u << 20) << "two boxes at most";

  ASSERT_TRUE(LoadCheckpoint(storage, "step-00000001", "m", {WholeTensor("w", {kRows, kRow}, loaded.data())}).ok());
  EXPECT_TRUE(loaded == expected);
}

}  // namespace
}  // namespace polymoe
