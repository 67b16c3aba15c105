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
#include "tests/worker/checkpoint/fault_scenarios.h"
#include "tests/worker/checkpoint/faulty_storage.h"
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

// In the layer of the storage, as it would be with any kind of it.
TEST(LocalStorage, AnyOperationMayGoWrong) {
  for (const Scenario& scenario : Scenarios()) {
    for (const Fault fault : {Fault::kRefused, Fault::kLost, Fault::kDead}) {
      bool struck = true;
      for (int at = 0; struck; ++at) {
        SCOPED_TRACE(absl::StrCat(scenario.name, ", fault ", static_cast<int>(fault), ", operation ", at));
        const TempDir dir;
        LocalStorage storage(dir.path());
        ASSERT_NO_FATAL_FAILURE(Prepare(storage, scenario));
        FaultyStorage faulty(storage, fault, at);
        const bool succeeded = scenario.faulted(faulty).ok();
        struck = faulty.struck();
        ASSERT_NO_FATAL_FAILURE(ExpectSound(storage, succeeded));
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace polymoe
