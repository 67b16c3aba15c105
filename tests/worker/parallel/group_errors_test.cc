// Ranks that are lost, late or elsewhere: the others hear of it, by name, and nobody hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <future>
#include <latch>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"

#include "tests/worker/parallel/group_contract.h"
#include "worker/parallel/message_group.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kShort = absl::Milliseconds(300);
constexpr absl::Duration kLong = absl::Minutes(30);  // whoever waits for it has failed the test

// Everything that a group can do, on an idle channel.
std::vector<absl::Status> CallEverything(Group& group) {
  const int64_t n = group.size();
  std::vector<float> floats(n);
  std::vector<double> doubles(n);
  std::vector<int64_t> cuts, ones(n, 1);
  for (int64_t r = 0; r <= n; ++r) cuts.push_back(r);
  std::vector<char> rows(n), received(n);
  return {group.AllReduceSum(absl::MakeSpan(floats)),
          group.AllReduceSum(absl::MakeSpan(doubles)),
          group.Broadcast(absl::MakeSpan(rows), 0),
          group.Barrier(),
          group.StartReduceScatterSum(1, floats.data(), cuts),
          group.StartAllGather(2, floats.data(), cuts, 4),
          group.StartAllToAllV(3, 1, rows.data(), ones, received.data(), ones),
          group.Finish(1)};
}

// Whether a thread of this process waits for something.
bool Sleeps(pid_t thread) {
  std::ifstream stat(absl::StrCat("/proc/self/task/", thread, "/stat"));
  std::string id, name, state;
  stat >> id >> name >> state;
  return state == "S";
}

TEST_P(GroupErrorTest, ALostRankIsUnavailableByName) {
  const int lost = size() - 1;
  RunWorld(
      [&](Group& group) {
        ASSERT_TRUE(group.Barrier().ok());
        if (group.rank() == lost) return;
        std::vector<float> values(100'000);
        absl::Status status;
        while (status.ok()) status = group.AllReduceSum(absl::MakeSpan(values));
        EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
        // With more ranks, one that heard of it before and has closed may be the first that this one misses.
        EXPECT_THAT(status.message(), HasSubstr(size() == 2 ? "rank 1 is gone: " : " is gone: "));
        EXPECT_THAT(status.message(), HasSubstr(" among all ranks"));
        for (const absl::Status& later : CallEverything(group)) EXPECT_EQ(later, status) << "for ever";
      },
      kLong);
}

// A rank that is through says so by going; those that need nothing of it any more go on.
TEST_P(GroupErrorTest, WhoeverIsDoneMayGoWhileOthersWork) {
  if (size() < 3) return;  // the two that go on and the one that goes
  std::latch gone(1);
  std::vector<std::unique_ptr<Transport>> transports = GetParam().connect(size());
  std::vector<std::thread> threads;
  for (auto& transport : transports) {
    threads.emplace_back([&] {
      const int rank = transport->rank();
      MessageGroup all(
          *transport,
          [] {
            std::vector<int> members;
            for (int r = 0; r < size(); ++r) members.push_back(r);
            return members;
          }(),
          MessageGroup::kWorld, kLong);
      std::vector<float> values(300'000, 1);
      ASSERT_TRUE(all.AllReduceSum(absl::MakeSpan(values)).ok());
      if (rank == 2) {
        transport.reset();
        gone.count_down();
      } else if (rank < 2) {
        gone.wait();
        MessageGroup two(*transport, {0, 1}, MessageGroup::kExperts, kLong);
        for (int i = 0; i < 100; ++i) ASSERT_TRUE(two.AllReduceSum(absl::MakeSpan(values)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(GroupErrorTest, LateRanksAreNamed) {
  for (const std::set<int>& late : {std::set<int>{size() - 1}, std::set<int>{0}, std::set<int>{1, size() - 1}}) {
    if (static_cast<int>(late.size()) >= size()) continue;
    std::latch over(size() - static_cast<int>(late.size()));
    std::latch start(size());
    RunWorld(
        [&](Group& group) {
          start.arrive_and_wait();
          if (late.contains(group.rank())) {
            over.wait();
            return;
          }
          const absl::Status status = group.Barrier();
          EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
          const std::string who =
              late.size() == 1 ? absl::StrCat("rank ", *late.begin()) : absl::StrCat("ranks ", *late.begin(), ", ", *late.rbegin());
          EXPECT_THAT(status.message(), HasSubstr(who + " sent nothing for 0.3 s (barrier among all ranks)"));
          over.arrive_and_wait();  // nobody may close before all have waited for their time
          for (const absl::Status& later : CallEverything(group)) EXPECT_EQ(later, status);
        },
        kShort);
  }
}

TEST_P(GroupErrorTest, ARankThatTakesNothingIsLateToo) {
  std::latch over(1);
  RunWorld(
      [&](Group& group) {
        if (group.rank() == 0) {
          std::vector<char> bytes(100 << 20);
          const absl::Status status = group.Broadcast(absl::MakeSpan(bytes), 0);
          EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
          EXPECT_THAT(status.message(), HasSubstr("1"));
          EXPECT_THAT(status.message(), HasSubstr(" took nothing for 0.3 s (broadcast among all ranks)"));
          over.count_down();
        }
        over.wait();
      },
      kShort);
}

TEST_P(GroupErrorTest, RanksNumbersInErrorsAreThoseOfTheWorld) {
  if (size() != 4) return;
  std::latch over(3);
  Run(
      [&](Ranks& ranks) {
        if (ranks.world->rank() == 3) {
          over.wait();
          return;
        }
        if (ranks.world->rank() == 2) {
          EXPECT_THAT(ranks.experts->Barrier().message(),
                      HasSubstr("rank 3 sent nothing for 0.3 s (barrier among the ranks that share experts)"));
        }
        if (ranks.world->rank() == 1) {
          EXPECT_THAT(ranks.replicas->Barrier().message(),
                      HasSubstr("rank 3 sent nothing for 0.3 s (barrier among the ranks with the same experts)"));
          EXPECT_EQ(ranks.world->Barrier(), ranks.replicas->Barrier()) << "one error for all groups";
        }
        over.arrive_and_wait();
      },
      /*expert_parallel=*/2, kShort);
}

// What does not fit together never meets: an error when the time is over, and no byte where it does not belong.
TEST_P(GroupErrorTest, RanksThatDisagreeHearOfIt) {
  const std::vector<std::function<absl::Status(Group&, std::vector<float>&, bool)>> calls = {
      // Another operation.
      [](Group& group, std::vector<float>& values, bool odd) {
        std::vector<int64_t> cuts(group.size() + 1);
        for (int r = 0; r <= group.size(); ++r) cuts[r] = r;
        const absl::Status status =
            odd ? group.StartAllGather(1, values.data(), cuts, 4) : group.StartReduceScatterSum(1, values.data(), cuts);
        return status.ok() ? group.Finish(1) : status;
      },
      // Another size.
      [](Group& group, std::vector<float>& values, bool odd) {
        return group.AllReduceSum(absl::MakeSpan(values).subspan(0, odd ? 100 : 101));
      },
      // Another channel.
      [](Group& group, std::vector<float>& values, bool odd) {
        std::vector<int64_t> cuts(group.size() + 1);
        for (int r = 0; r <= group.size(); ++r) cuts[r] = r;
        const absl::Status status = group.StartReduceScatterSum(odd ? 1 : 2, values.data(), cuts);
        return status.ok() ? group.Finish(odd ? 1 : 2) : status;
      }};
  for (const auto& call : calls) {
    RunWorld(
        [&](Group& group) {
          std::vector<float> values(1000, 5);
          const absl::Status status = call(group, values, group.rank() == 0);
          EXPECT_FALSE(status.ok());
          EXPECT_EQ(values, std::vector<float>(1000, 5));
        },
        kShort);
  }
}

TEST_P(GroupErrorTest, AbortEndsAWaitAtOnce) {
  std::latch over(size());  // nobody goes before all have heard of it
  RunWorld(
      [&](Group& group) {
        if (group.rank() == 0) {
          std::vector<float> values(1 << 20);
          std::atomic<pid_t> waiter = 0;
          auto waiting = std::async(std::launch::async, [&] {
            waiter = gettid();
            return group.AllReduceSum(absl::MakeSpan(values));
          });
          while (waiter == 0 || !Sleeps(waiter)) std::this_thread::yield();
          group.Abort();
          const absl::Status status = waiting.get();
          EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
          for (const absl::Status& later : CallEverything(group)) EXPECT_EQ(later, status);
          group.Abort();  // again is fine
        } else {
          // The others see the broken connections.
          const absl::Status status = group.Barrier();
          EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
        }
        over.arrive_and_wait();
      },
      kLong);
}

TEST_P(GroupErrorTest, AfterAnErrorBuffersAreNotTouched) {
  RunWorld(
      [&](Group& group) {
        {
          // In flight when the error comes; its memory goes before the group.
          std::vector<char> rows(size() << 20), received(size() << 20);
          const std::vector<int64_t> counts(size(), 1);
          if (group.rank() != 0) {
            group.StartAllToAllV(0, 1 << 20, rows.data(), counts, received.data(), counts).IgnoreError();
          }
          EXPECT_FALSE(group.Barrier().ok());
        }
        std::vector<char> reused(2 * size() << 20, 'r');
        EXPECT_FALSE(group.Barrier().ok());
        EXPECT_EQ(std::count(reused.begin(), reused.end(), 'r'), static_cast<int64_t>(reused.size()));
      },
      kShort);
}

}  // namespace
}  // namespace polymoe
