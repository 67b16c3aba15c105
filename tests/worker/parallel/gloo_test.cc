// Groups over Gloo, the ranks as threads with a transport each; and real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <future>

#include "common/check.h"
#include "common/clock.h"
#include "tests/fakes/program.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/parallel/group_contract.h"
#include "worker/parallel/folder_key_value.h"
#include "worker/parallel/gloo_transport.h"

// Gloo forgets a result of getaddrinfo when an address is refused.
extern "C" const char* __lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier): the sanitiser's name
extern "C" const char* __lsan_default_suppressions() {
  return "leak:gloo::transport::tcp::CreateDeviceAttr\n";
}

namespace polymoe {
namespace {

using ::testing::HasSubstr;

// As every program of ours does.
[[maybe_unused]] const auto ignored = signal(SIGPIPE, SIG_IGN);

std::vector<std::unique_ptr<Transport>> Gloo(int size) {
  const TempDir dir;
  std::vector<std::unique_ptr<Transport>> transports(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      FolderKeyValue keys(dir.path() + "/meeting");
      auto transport = ConnectRanks({.world_size = size, .rank = rank}, keys);
      POLYMOE_CHECK(transport.ok(), "%s", transport.status().ToString().c_str());
      transports[rank] = *std::move(transport);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return transports;
}

INSTANTIATE_TEST_SUITE_P(Gloo, GroupTest,
                         ::testing::Values(GroupCase{Gloo, 1}, GroupCase{Gloo, 2}, GroupCase{Gloo, 3}, GroupCase{Gloo, 4},
                                           GroupCase{Gloo, 5}),
                         GroupCaseName);
INSTANTIATE_TEST_SUITE_P(Gloo, GroupErrorTest,
                         ::testing::Values(GroupCase{Gloo, 2}, GroupCase{Gloo, 3}, GroupCase{Gloo, 4}, GroupCase{Gloo, 5}),
                         GroupCaseName);

// A process that is rank `rank` of `size`; it ends with what `body` returns.
pid_t StartRank(const std::string& folder, int size, int rank, const std::function<int(Ranks&)>& body) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  alarm(120);
  FolderKeyValue keys(folder);
  auto transport = ConnectRanks({.world_size = size, .rank = rank}, keys);
  if (!transport.ok()) _exit(99);
  int code = 0;
  {
    Ranks ranks = MakeRanks(*std::move(transport), 1, absl::Minutes(10));
    code = body(ranks);
  }
  _exit(code);
}

TEST(GlooProcesses, TrainTogether) {
  const TempDir dir;
  std::vector<pid_t> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(StartRank(dir.path(), 3, rank, [](Ranks& mine) {
      std::vector<float> values(100'000, static_cast<float>(mine.world->rank() + 1));
      for (int i = 0; i < 20; ++i) {
        if (!mine.world->AllReduceSum(absl::MakeSpan(values)).ok()) return 1;
        for (const float value : values) {
          if (value != (i == 0 ? 6.f : 18.f)) return 2;
        }
        std::fill(values.begin(), values.end(), 6.f);
      }
      return 0;
    }));
  }
  for (const pid_t pid : ranks) EXPECT_EQ(Reap(pid).exit_code, 0);
}

// The connection breaks in the middle of a message: Gloo itself would let its receiver wait until the deadline.
TEST(GlooProcesses, ARankThatIsKilledInTheMiddleOfAMessage) {
  constexpr int64_t kBytes = 256 << 20;
  const TempDir dir;
  char* received = static_cast<char*>(mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(received, MAP_FAILED);
  const std::vector<int64_t> to_zero = {1, 0}, from_one = {0, 1}, none = {0, 0};
  const pid_t victim = StartRank(dir.path(), 2, 1, [&](Ranks& ranks) {
    const std::vector<char> bytes(kBytes, 'b');
    if (!ranks.world->StartAllToAllV(0, kBytes, bytes.data(), to_zero, nullptr, none).ok()) return 1;
    while (reinterpret_cast<volatile char*>(received)[0] != 'b') {
    }
    raise(SIGKILL);
    return 2;
  });
  const pid_t survivor = StartRank(dir.path(), 2, 0, [&](Ranks& ranks) {
    if (!ranks.world->StartAllToAllV(0, kBytes, nullptr, none, received, from_one).ok()) return 1;
    const absl::Status status = ranks.world->Finish(0);
    if (received[kBytes - 1] == 'b') return 3;  // the test was too slow to see the middle
    std::strncpy(received + kBytes, status.ToString().c_str(), 1000);
    return absl::IsUnavailable(status) ? 0 : 2;
  });
  EXPECT_EQ(Reap(victim).signal, SIGKILL);
  EXPECT_EQ(Reap(survivor).exit_code, 0);
  EXPECT_THAT(received + kBytes, HasSubstr("rank 1 is gone: "));
  munmap(received, 2 * kBytes);
}

TEST(GlooConnect, RanksThatDoNotComeAreNamed) {
  const TempDir dir;
  FolderKeyValue keys(dir.path());
  const auto transport = ConnectRanks({.world_size = 3, .rank = 1, .deadline = absl::Milliseconds(100)}, keys);
  EXPECT_EQ(transport.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(transport.status().message(), HasSubstr("not all ranks have come to the meeting: nobody has put rank-0, rank-2"));
}

TEST(GlooConnect, ARankThatCameAndWent) {
  const TempDir dir;
  FolderKeyValue keys(dir.path());
  // Leaves its address, as the other one is not there in time, and closes its socket.
  EXPECT_FALSE(ConnectRanks({.world_size = 2, .rank = 1, .deadline = absl::Milliseconds(1)}, keys).ok());
  const auto transport = ConnectRanks({.world_size = 2, .rank = 0, .deadline = absl::Milliseconds(500)}, keys);
  EXPECT_EQ(transport.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(transport.status().message(), HasSubstr("rank 1 came to the meeting, but cannot be reached"));
}

TEST(GlooConnect, BindsToAnInterfaceOrAnAddressOfThisMachine) {
  for (const std::string bind : {"lo", "127.0.0.2"}) {
    const TempDir dir;
    auto other = std::async(std::launch::async, [&] {
      FolderKeyValue keys(dir.path());
      return ConnectRanks({.world_size = 2, .rank = 1, .bind = bind}, keys);
    });
    FolderKeyValue keys(dir.path());
    const auto here = ConnectRanks({.world_size = 2, .rank = 0, .bind = bind}, keys);
    const auto there = other.get();  // neither leaves before both have met
    EXPECT_TRUE(here.ok()) << here.status();
    EXPECT_TRUE(there.ok()) << there.status();
  }
  const TempDir dir;
  FolderKeyValue keys(dir.path());
  for (const std::string bind : {"192.0.2.1", "eth99", "no such host"}) {
    const auto transport = ConnectRanks({.world_size = 2, .rank = 0, .bind = bind}, keys);
    EXPECT_EQ(transport.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(transport.status().message(), HasSubstr("'" + bind + "' is no address or interface of this machine"));
  }
}

}  // namespace
}  // namespace polymoe
