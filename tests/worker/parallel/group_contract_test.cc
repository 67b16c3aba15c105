// The results of the collectives, bit by bit, and in whatever order they finish.
#include "tests/worker/parallel/group_contract.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

namespace polymoe {
namespace {

using Cuts = std::vector<int64_t>;

uint64_t Hash(uint64_t a, uint64_t b, uint64_t c) {
  uint64_t x = (a * 1'000'003 + b) * 1'000'003 + c + 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// What rank `rank` brings to operation `op`: magnitudes from 1e-3 to 1e4, so that the order of a sum shows in its bits.
template <typename T>
T Value(uint64_t op, int rank, int64_t i) {
  static constexpr T kScales[] = {1e-3, 1, 33, 1e4};
  const uint64_t hash = Hash(op, static_cast<uint64_t>(rank), static_cast<uint64_t>(i));
  return (static_cast<T>(hash >> 40) / (1 << 23) - 1) * kScales[hash % 4];
}

template <typename T>
std::vector<T> Values(uint64_t op, int rank, int64_t count) {
  std::vector<T> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = Value<T>(op, rank, i);
  return values;
}

template <typename T>
T SumInOrder(uint64_t op, int size, int64_t i) {
  T sum = Value<T>(op, 0, i);
  for (int r = 1; r < size; ++r) sum += Value<T>(op, r, i);
  return sum;
}

template <typename T>
void CheckAllReduce(Group& group, uint64_t op, int64_t count) {
  std::vector<T> values = Values<T>(op, group.rank(), count);
  ASSERT_TRUE(group.AllReduceSum(absl::MakeSpan(values)).ok());
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i) wrong += values[i] != SumInOrder<T>(op, group.size(), i);
  EXPECT_EQ(wrong, 0) << "of " << count << " sums on rank " << group.rank();
}

// An operation that runs: what it was given and what must come of it.
class Running {
 public:
  virtual ~Running() = default;
  virtual void Check(Group& group) = 0;
};

class ReduceScatter : public Running {
 public:
  ReduceScatter(Group& group, int channel, uint64_t op, Cuts cuts)
      : op_(op), cuts_(std::move(cuts)), values_(Values<float>(op, group.rank(), cuts_.back())) {
    EXPECT_TRUE(group.StartReduceScatterSum(channel, values_.data(), cuts_).ok());
  }
  void Check(Group& group) override {
    int64_t wrong = 0;
    for (int64_t i = 0; i < cuts_.back(); ++i) {
      const bool own = i >= cuts_[group.rank()] && i < cuts_[group.rank() + 1];
      wrong += values_[i] != (own ? SumInOrder<float>(op_, group.size(), i) : Value<float>(op_, group.rank(), i));
    }
    EXPECT_EQ(wrong, 0) << "of " << cuts_.back() << " values on rank " << group.rank();
  }

 private:
  const uint64_t op_;
  const Cuts cuts_;
  std::vector<float> values_;
};

class AllGather : public Running {
 public:
  AllGather(Group& group, int channel, uint64_t op, Cuts cuts, int64_t element_bytes)
      : op_(op), cuts_(std::move(cuts)), element_bytes_(element_bytes), bytes_(cuts_.back() * element_bytes, 'x') {
    const int r = group.rank();
    for (int64_t i = cuts_[r] * element_bytes; i < cuts_[r + 1] * element_bytes; ++i) bytes_[i] = Byte(r, i);
    EXPECT_TRUE(group.StartAllGather(channel, bytes_.data(), cuts_, element_bytes).ok());
  }
  void Check(Group& group) override {
    int64_t wrong = 0;
    for (int r = 0; r < group.size(); ++r) {
      for (int64_t i = cuts_[r] * element_bytes_; i < cuts_[r + 1] * element_bytes_; ++i) wrong += bytes_[i] != Byte(r, i);
    }
    EXPECT_EQ(wrong, 0) << "of " << bytes_.size() << " bytes on rank " << group.rank();
  }

 private:
  char Byte(int rank, int64_t i) const { return static_cast<char>(Hash(op_, rank, i)); }

  const uint64_t op_;
  const Cuts cuts_;
  const int64_t element_bytes_;
  std::vector<char> bytes_;
};

class AllToAll : public Running {
 public:
  // Rank r sends count(r, s) rows to s.
  AllToAll(Group& group, int channel, uint64_t op, int64_t row_bytes, const std::function<int64_t(int, int)>& count)
      : op_(op), row_bytes_(row_bytes) {
    const int self = group.rank();
    for (int peer = 0; peer < group.size(); ++peer) {
      send_counts_.push_back(count(self, peer));
      receive_counts_.push_back(count(peer, self));
      for (int64_t i = 0; i < send_counts_.back() * row_bytes; ++i) send_.push_back(Byte(self, peer, i));
    }
    receive_.assign(std::accumulate(receive_counts_.begin(), receive_counts_.end(), int64_t{0}) * row_bytes, 'x');
    EXPECT_TRUE(group.StartAllToAllV(channel, row_bytes, send_.data(), send_counts_, receive_.data(), receive_counts_).ok());
  }
  void Check(Group& group) override {
    int64_t wrong = 0, at = 0;
    for (int peer = 0; peer < group.size(); ++peer) {
      for (int64_t i = 0; i < receive_counts_[peer] * row_bytes_; ++i) wrong += receive_[at++] != Byte(peer, group.rank(), i);
    }
    EXPECT_EQ(wrong, 0) << "of " << receive_.size() << " bytes on rank " << group.rank();
  }

 private:
  char Byte(int from, int to, int64_t i) const { return static_cast<char>(Hash(op_, from * 64 + to, i)); }

  const uint64_t op_;
  const int64_t row_bytes_;
  std::vector<int64_t> send_counts_, receive_counts_;
  std::vector<char> send_, receive_;
};

// Cuts [0, total] into random pieces, some of them empty; the same on all ranks.
Cuts RandomCuts(std::mt19937_64& random, int size, int64_t total) {
  Cuts cuts = {0, total};
  while (static_cast<int>(cuts.size()) < size + 1) cuts.push_back(random() % 3 == 0 ? cuts[random() % 2] : random() % (total + 1));
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

TEST_P(GroupTest, KnowsItsRanks) {
  std::vector<std::atomic<int>> seen(size());
  RunWorld([&](Group& group) {
    EXPECT_EQ(group.size(), size());
    ++seen[group.rank()];
  });
  for (const auto& count : seen) EXPECT_EQ(count, 1);
}

TEST_P(GroupTest, AllReduceIsTheSumInTheOrderOfTheRanks) {
  RunWorld([&](Group& group) {
    uint64_t op = 0;
    for (const int64_t count : {0, 1, 2, 3, 17, 4095, 8192, 8193, 30'011, 100'003}) {
      CheckAllReduce<float>(group, ++op, count);
      CheckAllReduce<double>(group, ++op, count);
    }
  });
}

TEST_P(GroupTest, AllReduceOfWholeNumbersIsExact) {
  RunWorld([&](Group& group) {
    std::vector<float> values(50'001);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000) * static_cast<float>(group.rank() + 1);
    ASSERT_TRUE(group.AllReduceSum(absl::MakeSpan(values)).ok());
    const int ranks = group.size() * (group.size() + 1) / 2;
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<float>(i % 1000 * ranks)) << i;
  });
}

TEST_P(GroupTest, BroadcastFromEachRoot) {
  RunWorld([&](Group& group) {
    for (int root = 0; root < group.size(); ++root) {
      for (const int64_t count : {0, 1, 1000, 300'001}) {
        std::vector<char> bytes(count, static_cast<char>(100 + group.rank()));
        ASSERT_TRUE(group.Broadcast(absl::MakeSpan(bytes), root).ok());
        EXPECT_EQ(std::count(bytes.begin(), bytes.end(), static_cast<char>(100 + root)), count);
      }
    }
  });
}

TEST_P(GroupTest, NobodyLeavesABarrierBeforeAllHaveCome) {
  std::atomic<int> came = 0;
  RunWorld([&](Group& group) {
    for (int round = 1; round <= 20; ++round) {
      ++came;
      ASSERT_TRUE(group.Barrier().ok());
      EXPECT_GE(came, round * group.size());
    }
  });
}

TEST_P(GroupTest, PiecesOfEverySize) {
  RunWorld([&](Group& group) {
    std::mt19937_64 random(7);
    const int n = group.size();
    uint64_t op = 1000;
    std::vector<Cuts> all = {Cuts(n + 1, 0)};  // nothing at all
    for (int r = 0; r < n; ++r) {              // everything is one rank's
      all.emplace_back(n + 1, 0);
      std::fill(all.back().begin() + r + 1, all.back().end(), 10'007);
    }
    for (const int64_t total : {1, 5, 4096, 70'001}) all.push_back(RandomCuts(random, n, total));
    for (const Cuts& cuts : all) {
      ReduceScatter sum(group, 0, ++op, cuts);
      ASSERT_TRUE(group.Finish(0).ok());
      sum.Check(group);
      for (const int64_t element_bytes : {1, 2, 4, 12}) {
        AllGather gather(group, 63, ++op, cuts, element_bytes);
        ASSERT_TRUE(group.Finish(63).ok());
        gather.Check(group);
      }
    }
  });
}

TEST_P(GroupTest, AllToAllOfAnyCounts) {
  RunWorld([&](Group& group) {
    const int n = group.size();
    const std::vector<std::function<int64_t(int, int)>> patterns = {
        [](int, int) { return 0; },                                // nothing
        [](int from, int to) { return from == to ? 9 : 0; },       // to itself only
        [](int, int to) { return to == 0 ? 1001 : 0; },            // everything to one
        [n](int from, int) { return from == n - 1 ? 77 : 0; },     // everything from one
        [](int from, int to) { return (from * 5 + to * 3) % 4; },  // small, some zero
        [](int from, int to) { return static_cast<int64_t>(Hash(1, from, to) % 3000); },
    };
    uint64_t op = 2000;
    for (const auto& count : patterns) {
      for (const int64_t row_bytes : {1, 4, 258}) {
        AllToAll rows(group, 5, ++op, row_bytes, count);
        ASSERT_TRUE(group.Finish(5).ok());
        rows.Check(group);
      }
    }
  });
}

TEST_P(GroupTest, LargePieces) {
  RunWorld([&](Group& group) {
    const int64_t total = (10 << 20) / 4 * group.size() + 13;  // 10 MiB a piece and more
    Cuts cuts;
    for (int r = 0; r <= group.size(); ++r) cuts.push_back(total * r / group.size());
    ReduceScatter sum(group, 0, 3000, cuts);
    AllGather gather(group, 1, 3001, cuts, 4);
    AllToAll rows(group, 2, 3002, 8 << 10, [](int, int) { return 1025; });
    for (const int channel : {2, 0, 1}) ASSERT_TRUE(group.Finish(channel).ok());
    sum.Check(group);
    gather.Check(group);
    rows.Check(group);
  });
}

TEST_P(GroupTest, FinishOfAnIdleChannelIsFine) {
  RunWorld([&](Group& group) {
    for (int channel = 0; channel < Group::kChannels; ++channel) EXPECT_TRUE(group.Finish(channel).ok());
  });
}

TEST_P(GroupTest, ManyChannelsFinishInAnyOrder) {
  RunWorld([&](Group& group) {
    std::mt19937_64 common(11), own(100 + group.rank());
    for (int round = 0; round < 5; ++round) {
      std::vector<std::unique_ptr<Running>> running;
      for (int channel = 0; channel < Group::kChannels; ++channel) {
        const uint64_t op = 4000 + round * Group::kChannels + channel;
        const Cuts cuts = RandomCuts(common, group.size(), static_cast<int64_t>(common() % 20'000));
        switch (common() % 3) {
          case 0:
            running.push_back(std::make_unique<ReduceScatter>(group, channel, op, cuts));
            break;
          case 1:
            running.push_back(std::make_unique<AllGather>(group, channel, op, cuts, 4));
            break;
          default:
            running.push_back(std::make_unique<AllToAll>(
                group, channel, op, 12, [op](int from, int to) { return static_cast<int64_t>(Hash(op, from, to) % 200); }));
        }
      }
      std::vector<int> order(Group::kChannels);
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), own);  // another one on each rank
      for (const int channel : order) {
        ASSERT_TRUE(group.Finish(channel).ok());
        running[channel]->Check(group);
      }
    }
  });
}

// Any sequence: started, finished and checked in an order of each rank's own, with blocking operations between.
TEST_P(GroupTest, RandomSequences) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  RunWorld([&](Group& group) {
    std::mt19937_64 common(seed), own(seed + 1 + group.rank());
    std::vector<std::unique_ptr<Running>> running(Group::kChannels);
    const auto finish = [&](int channel) {
      ASSERT_TRUE(group.Finish(channel).ok());
      if (running[channel] != nullptr) running[channel]->Check(group);
      running[channel] = nullptr;
    };
    for (uint64_t op = 5000; op < 5300; ++op) {
      const int channel = static_cast<int>(common() % 8);
      const uint64_t kind = common() % 6;
      const int64_t count = static_cast<int64_t>(common() % (common() % 10 == 0 ? 100'000 : 500));
      const Cuts cuts = RandomCuts(common, group.size(), count);
      if (kind < 3) finish(channel);
      if (kind == 0) running[channel] = std::make_unique<ReduceScatter>(group, channel, op, cuts);
      if (kind == 1) running[channel] = std::make_unique<AllGather>(group, channel, op, cuts, 1 + count % 5);
      if (kind == 2) {
        running[channel] = std::make_unique<AllToAll>(group, channel, op, 1 + count % 9, [&](int from, int to) {
          return static_cast<int64_t>(Hash(op, from, to)) % 5 == 0 ? 0 : static_cast<int64_t>(Hash(op, from, to) % (count + 1));
        });
      }
      if (kind == 3) CheckAllReduce<float>(group, op, count);
      if (kind == 4) CheckAllReduce<double>(group, op, count);
      if (kind == 5) {
        ASSERT_TRUE(group.Barrier().ok());
      }
      if (own() % 3 == 0) finish(static_cast<int>(own() % 8));
      if (::testing::Test::HasFailure()) return;
    }
    for (int channel = 0; channel < 8; ++channel) finish(channel);
  });
}

TEST_P(GroupTest, CountsTheBytesThatItSends) {
  RunWorld([&](Group& group) {
    const uint64_t others = group.size() - 1;
    AllToAll rows(group, 0, 6000, 10, [](int, int) { return 100; });
    ASSERT_TRUE(group.Finish(0).ok());
    EXPECT_EQ(group.bytes_sent(), others * 1000);
    Cuts cuts(group.size() + 1);
    for (int r = 0; r <= group.size(); ++r) cuts[r] = r * 50;
    ReduceScatter sum(group, 0, 6001, cuts);
    ASSERT_TRUE(group.Finish(0).ok());
    EXPECT_EQ(group.bytes_sent(), others * (1000 + 200));
  });
}

// The three groups of a rank share one transport, and their operations are in flight at the same time.
TEST_P(GroupTest, GroupsOfALayoutDoNotMix) {
  for (int expert_parallel = 1; expert_parallel <= size(); ++expert_parallel) {
    if (size() % expert_parallel != 0) continue;
    Run(
        [&](Ranks& ranks) {
          EXPECT_EQ(ranks.experts->size(), expert_parallel);
          EXPECT_EQ(ranks.replicas->size(), size() / expert_parallel);
          for (uint64_t op = 0; op < 10; ++op) {
            const auto count = [op](int, int) { return static_cast<int64_t>(op * 5); };
            // What a rank sends in one group is not what it would send in another, and ranks need not agree on which group comes first.
            std::unique_ptr<AllToAll> experts, replicas, world;
            const auto start_world = [&] { world = std::make_unique<AllToAll>(*ranks.world, 3, 20'000 + op, 16, count); };
            if (ranks.world->rank() % 2 == 0) start_world();
            experts = std::make_unique<AllToAll>(*ranks.experts, 3, 100 * (ranks.world->rank() / expert_parallel) + op, 16, count);
            replicas = std::make_unique<AllToAll>(*ranks.replicas, 3, 10'000 + 100 * (ranks.world->rank() % expert_parallel) + op,
                                                  16, count);
            if (world == nullptr) start_world();
            for (Group* group : {ranks.replicas.get(), ranks.world.get(), ranks.experts.get()}) ASSERT_TRUE(group->Finish(3).ok());
            experts->Check(*ranks.experts);
            replicas->Check(*ranks.replicas);
            world->Check(*ranks.world);
          }
        },
        expert_parallel);
  }
}

}  // namespace
}  // namespace polymoe
