// The making of checkpoints: beside training, by ranks that may be of different attempts, once for each step.
#include "worker/checkpoint/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"

#include "tests/fakes/temp_dir.h"
#include "tests/worker/checkpoint/faulty_storage.h"
#include "tests/worker/checkpoint/sample_state.h"
#include "worker/checkpoint/local_storage.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Writer : public ::testing::Test {
 protected:
  // Rank `rank` of `ranks` writes the slabs of SampleState(step).
  absl::Status WritePart(uint64_t step, int rank, int ranks, uint32_t attempt, std::vector<TensorSlab> slabs = {}) {
    SampleState values(static_cast<float>(step));
    if (slabs.empty()) slabs = values.Share(rank, ranks);
    CheckpointWriter writer(storage_, {.rank = rank, .ranks = ranks, .attempt = attempt});
    const absl::Status started = writer.Start(At(step), slabs);
    return started.ok() ? writer.Wait() : started;
  }
  std::string Part(uint64_t step, int rank, uint32_t attempt) const {
    return absl::StrCat(CheckpointName(step), "/attempt-", attempt, "/rank-", rank, ".safetensors");
  }
  // What commit says when another rank's file stands where rank 1's of (step 5, attempt 2, 2 ranks) should be.
  std::string CommitErrorWith(uint64_t step, int ranks, uint32_t attempt) {
    EXPECT_TRUE(WritePart(step, 1, ranks, attempt).ok());
    const std::string other = storage_.Get(Part(step, 1, attempt)).value();
    CheckpointWriter leader(storage_, {.rank = 0, .ranks = 2, .attempt = 2});
    SampleState values(5);
    EXPECT_TRUE(leader.Start(At(5), values.Share(0, 2)).ok());
    EXPECT_TRUE(leader.Wait().ok());
    EXPECT_TRUE(storage_.Put(Part(5, 1, 2), {other}).ok());
    leader.Commit();
    const absl::Status status = leader.Wait();
    EXPECT_THAT(Steps(storage_), ElementsAre());
    return std::string(status.message());
  }

  TempDir dir_;
  LocalStorage storage_{dir_.path()};
};

// Its Put waits to be let through.
class HeldStorage final : public Storage {
 public:
  explicit HeldStorage(Storage& real) : real_(real) {}
  absl::Status Put(const std::string& name, absl::Span<const absl::string_view> pieces) override {
    release.WaitForNotification();
    return real_.Put(name, pieces);
  }
  absl::Status Create(const std::string& name, absl::string_view content) override { return real_.Create(name, content); }
  absl::StatusOr<std::string> Get(const std::string& name) override { return real_.Get(name); }
  absl::Status Read(const std::string& name, uint64_t offset, absl::Span<char> to) override { return real_.Read(name, offset, to); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override { return real_.List(folder); }
  absl::Status Delete(const std::string& name) override { return real_.Delete(name); }
  absl::Status DeleteFolder(const std::string& folder) override { return real_.DeleteFolder(folder); }
  absl::Status RenameFolder(const std::string& folder, const std::string& to) override { return real_.RenameFolder(folder, to); }
  const std::string& root() const override { return real_.root(); }

  absl::Notification release;

 private:
  Storage& real_;
};

TEST_F(Writer, TrainingGoesOnWhileItWrites) {
  HeldStorage held(storage_);
  CheckpointWriter writer(held, {});
  EXPECT_TRUE(writer.Done());
  SampleState values(1);
  ASSERT_TRUE(writer.Start(At(1), values.All()).ok());
  EXPECT_FALSE(writer.Done());
  values = SampleState(2);  // the next step
  EXPECT_FALSE(writer.Done());
  held.release.Notify();
  ASSERT_TRUE(writer.Wait().ok());
  EXPECT_TRUE(writer.Done());
  writer.Commit();
  ASSERT_TRUE(writer.Wait().ok());
  EXPECT_EQ(writer.path(), dir_.path() + "/step-00000001");
  ExpectLoads(storage_, 1);
}

TEST_F(Writer, OneWriterMakesOneCheckpointAfterAnother) {
  CheckpointWriter writer(storage_, {.retention = {.keep_last = 10}});
  for (const uint64_t step : {1, 2, 3}) {
    SampleState values(static_cast<float>(step));
    ASSERT_TRUE(writer.Start(At(step), values.All()).ok());
    ASSERT_TRUE(writer.Wait().ok());
    writer.Commit();
    ASSERT_TRUE(writer.Wait().ok());
  }
  for (const uint64_t step : {1, 2, 3}) ExpectLoads(storage_, step);
}

TEST_F(Writer, HolesAndOverlapsAreNoCheckpoint) {
  SampleState values(1);
  const auto error = [&](int64_t end, int64_t begin) {
    EXPECT_TRUE(WritePart(1, 1, 2, 1, {values.Slab("w", begin, 7)}).ok());
    CheckpointWriter leader(storage_, {.rank = 0, .ranks = 2, .attempt = 1});
    EXPECT_TRUE(leader.Start(At(1), {values.Slab("w", 0, end)}).ok());
    EXPECT_TRUE(leader.Wait().ok());
    leader.Commit();
    const absl::Status status = leader.Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(Steps(storage_), ElementsAre());
    return std::string(status.message());
  };
  EXPECT_THAT(error(3, 4), HasSubstr("rows [3, 4) of tensor w are in no file"));
  EXPECT_THAT(error(4, 3), HasSubstr("rows [3, 4) of tensor w are in two places"));
  EXPECT_THAT(error(7, 0), HasSubstr("rows [0, 7) of tensor w are in two places"));
}

TEST_F(Writer, PartsOfOtherSavesAreRefused) {
  EXPECT_THAT(CommitErrorWith(4, 2, 2), HasSubstr("another save: rank 1 of 2, attempt 2, step 4"));
  EXPECT_THAT(CommitErrorWith(5, 3, 2), HasSubstr("another save: rank 1 of 3"));
  EXPECT_THAT(CommitErrorWith(5, 2, 1), HasSubstr("another save: rank 1 of 2, attempt 1"));
}

TEST_F(Writer, AMissingOrGarbledPartIsNamed) {
  CheckpointWriter leader(storage_, {.rank = 0, .ranks = 2});
  SampleState values(1);
  ASSERT_TRUE(leader.Start(At(1), values.Share(0, 2)).ok());
  ASSERT_TRUE(leader.Wait().ok());
  const auto error = [&] {
    leader.Commit();
    return std::string(leader.Wait().message());
  };
  EXPECT_THAT(error(), HasSubstr("attempt-1/rank-1.safetensors: No such file"));
  const std::string note = R"({"__metadata__":{"polymoe":"{\"version\":3}"}})";
  for (const std::string& bytes :
       {std::string(), std::string("abc"), std::string(8, '\xff'), std::string("\x02\0\0\0\0\0\0\0{}", 10),
        std::string("\x02\0\0\0\0\0\0\0[]", 10), std::string(1, static_cast<char>(note.size())) + std::string(7, '\0') + note}) {
    ASSERT_TRUE(storage_.Put(Part(1, 1, 1), {bytes}).ok());
    EXPECT_THAT(error(), HasSubstr("attempt-1/rank-1.safetensors"));
    EXPECT_THAT(Steps(storage_), ElementsAre());
  }
}

// Attempt 1 was thought dead. Whatever it still does, attempt 2 saves the same step, and what is committed first is whole and stays.
TEST_F(Writer, AZombieNeitherMixesNorDamages) {
  for (const bool zombie_first : {false, true}) {
    const uint64_t step = zombie_first ? 7 : 8;
    SampleState stale(100), fresh(static_cast<float>(step));
    CheckpointWriter zombie(storage_, {.attempt = 1}), leader(storage_, {.attempt = 2});
    ASSERT_TRUE(leader.Start(At(step), fresh.All()).ok());
    ASSERT_TRUE(leader.Wait().ok());
    ASSERT_TRUE(zombie.Start(At(step), zombie_first ? fresh.All() : stale.All()).ok());
    ASSERT_TRUE(zombie.Wait().ok());
    for (CheckpointWriter* writer : {zombie_first ? &zombie : &leader, zombie_first ? &leader : &zombie}) {
      writer->Commit();
      EXPECT_TRUE(writer->Wait().ok());
      ExpectLoads(storage_, step);
    }
  }
}

// It got further before it was thought dead, and commits late: what attempt 2 is about to commit at an earlier step stays.
TEST_F(Writer, AZombiesPruningLeavesWhatANewerAttemptWrites) {
  ASSERT_TRUE(WritePart(5, 1, 2, 2).ok());
  SampleState values(9);
  ASSERT_TRUE(SaveShares(storage_, At(9), values, 1, 1, {.keep_last = 1}).ok());
  EXPECT_THAT(storage_.List("step-00000005/attempt-2").value(), ElementsAre("rank-1.safetensors"));
  ASSERT_TRUE(SaveShares(storage_, At(10), values, 1, 2, {.keep_last = 1}).ok());
  EXPECT_THAT(storage_.List("").value(), ElementsAre("step-00000010/"));
}

TEST_F(Writer, ACommittedStepIsLeftAlone) {
  SampleState values(1), others(5);
  ASSERT_TRUE(SaveShares(storage_, At(1), values, 1, 1).ok());
  const std::string before = storage_.Get(Part(1, 0, 1)).value();
  ASSERT_TRUE(SaveShares(storage_, At(1), others, 1, 1).ok());
  EXPECT_EQ(storage_.Get(Part(1, 0, 1)).value(), before);
}

TEST_F(Writer, AFullDiskIsAnErrorAndTheOlderOneStays) {
  SampleState first(1), second(2);
  ASSERT_TRUE(SaveShares(storage_, At(1), first, 2).ok());
  // In a child: files may grow to 100 bytes only, as on a disk that is full.
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100, 100};
    setrlimit(RLIMIT_FSIZE, &limit);
    _exit(SaveShares(storage_, At(2), second, 2).ok() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "the save must fail";
  EXPECT_THAT(Steps(storage_), ElementsAre(1));
  ExpectLoads(storage_, 1);
  ASSERT_TRUE(SaveShares(storage_, At(2), second, 2).ok()) << "once there is room again, it works";
  ExpectLoads(storage_, 2);
}

// A checkpoint is not lost because an older one cannot be removed.
TEST_F(Writer, TroubleWithPruningIsOnlyAWarning) {
  SampleState values(1);
  ASSERT_TRUE(SaveShares(storage_, At(1), values, 1).ok());
  FaultyStorage faulty(storage_, Fault::kDead, 8);  // behind the marker
  values = SampleState(2);
  EXPECT_TRUE(SaveShares(faulty, At(2), values, 1).ok());
  EXPECT_TRUE(faulty.struck());
  ExpectLoads(storage_, 2);
}

}  // namespace
}  // namespace polymoe
