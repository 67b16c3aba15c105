// A commit that returned is on the disk: it was synced before, it survives SIGKILL, and a disk that refuses gives an error instead of
// an answer. The program's own fdatasync and pwrite stand in front of the C library's, so that SQLite's can be watched and failed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/file.h"
#include "server/store/store.h"
#include "tests/fakes/postgres.h"
#include "tests/fakes/temp_dir.h"

namespace {

struct Disk {
  int wal_syncs = 0;
  int sync_error = 0;   // errno of every sync
  int write_error = 0;  // errno of every write
} disk;

}  // namespace

extern "C" int fdatasync(int fd) {
  std::array<char, 4096> target{};
  const std::string link = absl::StrCat("/proc/self/fd/", fd);
  if (readlink(link.c_str(), target.data(), target.size() - 1) > 0 && absl::EndsWith(target.data(), "-wal")) ++disk.wal_syncs;
  if (disk.sync_error != 0) {
    errno = disk.sync_error;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

// SQLite is built with the one or the other.
extern "C" ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  if (disk.write_error != 0) {
    errno = disk.write_error;
    return -1;
  }
  return syscall(SYS_pwrite64, fd, data, size, offset);
}
extern "C" ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return pwrite64(fd, data, size, offset);
}

namespace polymoe {
namespace {

using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;

class DurabilityTest : public ::testing::Test {
 protected:
  void SetUp() override { disk = {}; }
  void TearDown() override { disk = {}; }

  std::string path() const { return dir_.path() + "/polymoe.db"; }
  std::unique_ptr<Store> Open() { return OpenStore("sqlite:" + path()).value(); }

  TempDir dir_;
};

StoreBatch Batch(int n) {
  const std::string job = absl::StrCat("job-", n);
  return {.jobs = {{job, absl::StrCat("request-", n), absl::StrCat("{\"n\": ", n, "}")}},
          .points = {{"job-0", "loss", {1, static_cast<uint64_t>(n), 1, 1, n * 0.5}}},
          .logs = {{"job-0", 1, 0, static_cast<uint64_t>(n), 1, absl::StrCat("line ", n)}}};
}

TEST_F(DurabilityTest, EveryCommitIsSyncedBeforeItReturns) {
  const auto store = Open();
  for (int n = 0; n < 5; ++n) {
    const int before = disk.wal_syncs;
    ASSERT_TRUE(store->Commit(Batch(n)).ok());
    EXPECT_GT(disk.wal_syncs, before) << n;
  }
}

TEST_F(DurabilityTest, TheLogIsWrittenAhead) {
  const auto store = Open();
  // Read and write version of the file format (sqlite.org/fileformat2.html, bytes 18 and 19 of the header): 2 is a write-ahead log.
  EXPECT_EQ(ReadFile(path()).value().substr(18, 2), "\2\2");
}

// Commits until something is killed; each number that comes out of the pipe was committed before.
[[noreturn]] void CommitForEver(const std::string& url, int acknowledge) {
  const auto store = OpenStore(url);
  if (!store.ok()) _exit(1);
  for (int n = 0;; ++n) {
    if (!(*store)->Commit(Batch(n)).ok() || write(acknowledge, &n, sizeof n) != sizeof n) _exit(2);
  }
}

// Commits in a child until `enough` are acknowledged and `end` ended it; what was acknowledged must be there when `restart` has run.
void NothingAcknowledgedIsLost(const std::string& url, int enough, const std::function<void(pid_t)>& end,
                               const std::function<void()>& restart) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    CommitForEver(url, ends[1]);
  }
  close(ends[1]);
  int acknowledged = -1, next = 0;
  while (read(ends[0], &next, sizeof next) == sizeof next) {
    acknowledged = next;
    if (acknowledged == enough) end(child);  // it goes on until that takes effect
  }
  close(ends[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_GE(acknowledged, enough) << "it ended by itself: " << status;
  restart();

  const auto store = OpenStore(url);
  ASSERT_TRUE(store.ok()) << store.status();
  const size_t jobs = (*store)->LoadJobs()->size();
  // One more may have been committed and not acknowledged; it is whole or not there.
  EXPECT_THAT(jobs, AnyOf(Eq(acknowledged + 1u), Eq(acknowledged + 2u)));
  EXPECT_EQ((*store)->ReadPoints("job-0", {"loss"})->at("loss").size(), jobs);
  const auto lines = (*store)->ReadLogs("job-0", 1, 0);
  ASSERT_EQ(lines->size(), jobs);
  for (size_t n = 0; n < jobs; ++n) EXPECT_EQ(lines->at(n).text, absl::StrCat("line ", n));
  EXPECT_TRUE((*store)->Commit(Batch(1'000'000)).ok());
}

void KillWriter(pid_t writer) {
  kill(writer, SIGKILL);
}

TEST_F(DurabilityTest, KilledInMidStreamNothingAcknowledgedIsLost) {
  for (const int enough : {1, 17, 60}) {
    TempDir dir;
    NothingAcknowledgedIsLost("sqlite:" + dir.path() + "/polymoe.db", enough, KillWriter, [] {});
  }
}

// A server whose administrator gave durability up: commits of ours wait for the disk nonetheless.
class PostgresDurabilityTest : public ::testing::Test {
 protected:
  PostgresServer server_{{"synchronous_commit=off", "wal_writer_delay=10s"}};
};

TEST_F(PostgresDurabilityTest, AKilledWriterLosesNothing) {
  for (const int enough : {1, 60}) NothingAcknowledgedIsLost(server_.NewDatabase(), enough, KillWriter, [] {});
}

TEST_F(PostgresDurabilityTest, AKilledServerLosesNothing) {
  for (const int enough : {1, 17, 60}) {
    NothingAcknowledgedIsLost(
        server_.NewDatabase(), enough, [&](pid_t) { server_.Kill(); }, [&] { server_.Start(); });
  }
}

TEST_F(PostgresDurabilityTest, ALostConnectionIsAFailedCommit) {
  const std::string url = server_.NewDatabase();
  {
    const auto store = OpenStore(url).value();
    ASSERT_TRUE(store->Commit(Batch(0)).ok());
    server_.Query(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'polymoe-server'");
    const absl::Status lost = store->Commit(Batch(1));
    EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable) << lost;
    EXPECT_FALSE(store->Commit(Batch(2)).ok());  // its lock went with the connection: another process may be writing
  }
  EXPECT_EQ(OpenStore(url).value()->LoadJobs()->size(), 1u);
}

TEST_F(PostgresDurabilityTest, ALostReaderComesBack) {
  const std::string url = server_.NewDatabase();
  const auto store = OpenStore(url).value();
  ASSERT_TRUE(store->Commit(Batch(0)).ok());
  // Of the two connections, that without the lock.
  const std::string ended = server_.Query(url,
                                          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                                          "'polymoe-server' AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')");
  ASSERT_EQ(absl::StripAsciiWhitespace(ended), "t");
  EXPECT_EQ(store->LoadJobs()->size(), 1u);
  EXPECT_EQ(store->ReadLogs("job-0", 1, 0)->size(), 1u);
  EXPECT_TRUE(store->Commit(Batch(1)).ok()) << "the writer lost nothing";
}

TEST(PostgresWithoutFsync, IsRefused) {
  PostgresServer server({"fsync=off"});
  const auto store = OpenStore(server.NewDatabase());
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("fsync"));
}

TEST_F(DurabilityTest, AFullDiskIsAnErrorAndCostsNothingThatWasCommitted) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(Batch(0)).ok());
    disk.write_error = ENOSPC;
    const absl::Status full = store->Commit(Batch(1));
    EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
    EXPECT_THAT(std::string(full.message()), HasSubstr("full"));
  }
  disk = {};
  const auto store = Open();
  EXPECT_EQ(store->LoadJobs()->size(), 1u);
  EXPECT_EQ(store->ReadLogs("job-0", 1, 0)->size(), 1u);
}

TEST_F(DurabilityTest, ADiskThatFailsIsAnError) {
  for (const bool at_sync : {false, true}) {
    const auto store = OpenStore(absl::StrCat("sqlite:", path(), at_sync)).value();
    ASSERT_TRUE(store->Commit(Batch(0)).ok());
    (at_sync ? disk.sync_error : disk.write_error) = EIO;
    const absl::Status failed = store->Commit(Batch(1));
    EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable) << failed;
    disk = {};
  }
}

// The word alone, in a folder's name, is no full disk.
TEST_F(DurabilityTest, OnlyAFullDiskIsCalledFull) {
  EXPECT_EQ(OpenStore("sqlite:/dev/null/full/polymoe.db").status().code(),
            OpenStore("sqlite:/dev/null/x/polymoe.db").status().code());
  const std::string folder = dir_.path() + "/full.db";
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  EXPECT_EQ(OpenStore("sqlite:" + folder).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace polymoe
