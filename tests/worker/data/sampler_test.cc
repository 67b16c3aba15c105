#include "worker/data/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "worker/data/hash.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

constexpr char kFingerprint[] = "0123456789abcdef";

std::vector<uint64_t> Epoch(const Sampler& sampler, uint64_t epoch) {
  std::vector<uint64_t> order;
  for (uint64_t i = 0; i < sampler.windows(); ++i) order.push_back(sampler.Window(epoch * sampler.windows() + i));
  return order;
}

RC_GTEST_PROP(Sampler, EveryEpochIsAPermutation, (uint64_t seed, uint16_t epoch)) {
  const auto windows = *rc::gen::inRange<uint64_t>(1, 3000);
  std::vector<uint64_t> order = Epoch(Sampler(seed, kFingerprint, windows), epoch);
  std::sort(order.begin(), order.end());
  for (uint64_t i = 0; i < windows; ++i) RC_ASSERT(order[i] == i);
}

TEST(Sampler, IsAPermutationForEverySizeAroundPowersOfTwo) {
  for (const uint64_t windows : {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025}) {
    for (uint64_t epoch = 0; epoch < 20; ++epoch) {
      const std::vector<uint64_t> order = Epoch(Sampler(7, kFingerprint, windows), epoch);
      const std::set<uint64_t> distinct(order.begin(), order.end());
      ASSERT_EQ(distinct.size(), windows) << "epoch " << epoch;
      ASSERT_EQ(*distinct.rbegin(), windows - 1) << "epoch " << epoch;
    }
  }
}

// Two permutations of 40 or more agree by chance with probability 1/40! < 1e-47.
RC_GTEST_PROP(Sampler, SeedEpochAndFingerprintEachChangeTheOrder, (uint64_t seed, uint16_t epoch, uint64_t other_seed)) {
  RC_PRE(seed != other_seed);
  const auto windows = *rc::gen::inRange<uint64_t>(40, 2000);
  const Sampler sampler(seed, kFingerprint, windows);
  const std::vector<uint64_t> order = Epoch(sampler, epoch);
  RC_ASSERT(Epoch(sampler, epoch) == order);
  RC_ASSERT(Epoch(sampler, epoch + 1) != order);
  RC_ASSERT(Epoch(Sampler(other_seed, kFingerprint, windows), epoch) != order);
  RC_ASSERT(Epoch(Sampler(seed, "fedcba9876543210", windows), epoch) != order);
}

// However steps and ranks divide the sequences among them, together they see the same order.
RC_GTEST_PROP(Sampler, OrderIsIndependentOfRanksAndBatch, (uint64_t seed)) {
  const auto windows = *rc::gen::inRange<uint64_t>(1, 300);
  const auto ranks = *rc::gen::inRange<uint64_t>(1, 9);
  const auto batch = *rc::gen::inRange<uint64_t>(1, 17);  // sequences a rank
  const uint64_t count = 2 * windows + 5;                 // into the third epoch
  std::vector<uint64_t> expected, seen(count, UINT64_MAX);
  const Sampler sampler(seed, kFingerprint, windows);
  for (uint64_t i = 0; i < count; ++i) expected.push_back(sampler.Window(i));
  for (uint64_t rank = 0; rank < ranks; ++rank) {
    const Sampler own(seed, kFingerprint, windows);
    for (uint64_t step = 0; step * ranks * batch < count; ++step) {
      for (uint64_t i = 0; i < batch; ++i) {
        const uint64_t index = (step * ranks + rank) * batch + i;
        if (index < count) seen[index] = own.Window(index);
      }
    }
  }
  RC_ASSERT(seen == expected);
}

RC_GTEST_PROP(Sampler, HugeSizesStayInRangeAndDoNotCollide, (uint64_t seed)) {
  const auto windows = *rc::gen::inRange<uint64_t>(uint64_t{1} << 40, UINT64_MAX);
  const Sampler sampler(seed, kFingerprint, windows);
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 200; ++i) {
    const uint64_t window = sampler.Window(i * (windows / 200));
    RC_ASSERT(window < windows);
    RC_ASSERT(seen.insert(window).second);
  }
}

// Over many epochs, every window is equally often at every place. A count over n epochs is binomial with p = 1/8, so its deviation is
// sqrt(n p (1 - p)) = 42 for n = 16000; 64 counts all stay within 5 deviations with probability 1 - 4e-5, and the seed is fixed.
TEST(Sampler, EveryPlaceSeesEveryWindowEquallyOften) {
  constexpr int kWindows = 8, kEpochs = 16000;
  const Sampler sampler(1, kFingerprint, kWindows);
  int counts[kWindows][kWindows] = {};
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    for (int i = 0; i < kWindows; ++i) ++counts[i][sampler.Window(static_cast<uint64_t>(epoch) * kWindows + i)];
  }
  const double expected = kEpochs / 8.0, bound = 5 * std::sqrt(kEpochs * (1 / 8.0) * (7 / 8.0));
  for (int i = 0; i < kWindows; ++i) {
    for (int j = 0; j < kWindows; ++j) EXPECT_NEAR(counts[i][j], expected, bound) << "window " << j << " at place " << i;
  }
}

// In a random order of n, a window is followed by its neighbour in the text with probability 1/n: about one such pair, Poisson.
// More than 10 happen with probability 1e-8.
TEST(Sampler, NeighboursAreTornApart) {
  const std::vector<uint64_t> order = Epoch(Sampler(1, kFingerprint, 100'000), 0);
  int neighbours = 0;
  for (size_t i = 1; i < order.size(); ++i) neighbours += order[i] == order[i - 1] + 1;
  EXPECT_LE(neighbours, 10);
}

// Checkpoints hold positions in this order and manifests hold these hashes: a change of either breaks what is on disk. The orders were
// computed by a second implementation in Python.
TEST(Sampler, OrderAndHashesNeverChange) {
  EXPECT_EQ(Mix64(0), 0xe220a8397b1dcdafu);  // SplitMix64's published first output for seed 0
  EXPECT_EQ(HashBytes(""), Mix64(0xcbf29ce484222325));
  EXPECT_EQ(HashBytes("a"), Mix64(0xaf63dc4c8601ec8c));  // FNV-1a's published vector
  EXPECT_THAT(Epoch(Sampler(1, kFingerprint, 6), 0), ElementsAre(2, 5, 0, 4, 3, 1));
  EXPECT_THAT(Epoch(Sampler(1, kFingerprint, 6), 1), ElementsAre(1, 3, 0, 4, 2, 5));
  EXPECT_EQ(Sampler(1, kFingerprint, 1'000'000'007).Window(123'456'789'012), 65817560u);
}

}  // namespace
}  // namespace polymoe
