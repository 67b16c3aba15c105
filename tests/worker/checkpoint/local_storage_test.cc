#include "worker/checkpoint/local_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/checkpoint/storage_contract.h"

namespace polymoe {
namespace {

TEST(LocalStorage, KeepsTheContract) {
  const TempDir dir;
  LocalStorage storage(dir.path() + "/not/yet//");
  EXPECT_EQ(storage.root(), dir.path() + "/not/yet");
  ExpectContract(storage);
}

TEST(LocalStorage, RenamesFolders) {
  const TempDir dir;
  LocalStorage storage(dir.path());
  ASSERT_TRUE(storage.Put("a/x", {"1"}).ok());
  ASSERT_TRUE(storage.Put("b/old", {"2"}).ok());
  ASSERT_TRUE(storage.RenameFolder("a", "b").ok());
  EXPECT_THAT(storage.List("").value(), ::testing::ElementsAre("b/"));
  EXPECT_THAT(storage.List("b").value(), ::testing::ElementsAre("x"));
}

TEST(LocalStorage, OfManyThatCreateOneSucceeds) {
  const TempDir dir;
  std::atomic<int> created = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      LocalStorage storage(dir.path());
      created += storage.Create("f/x", absl::StrCat("from ", i)).ok() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(created, 1);
  EXPECT_THAT(ListDirectory(dir.path() + "/f").value(), ::testing::ElementsAre("x")) << "nothing temporary is left";
}

TEST(LocalStorage, AFileInPlaceOfTheFolderIsAnError) {
  const TempDir dir;
  ASSERT_TRUE(WriteFileDurably(dir.path() + "/ck", "").ok());
  LocalStorage storage(dir.path() + "/ck");
  EXPECT_FALSE(storage.List("").ok());
  EXPECT_FALSE(storage.Put("x", {}).ok());
}

}  // namespace
}  // namespace polymoe
