#include "worker/data/sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>
#include <vector>

namespace polymoe {
namespace {

TEST(Sampler, EveryEpochIsAPermutation) {
  const bool holds = rc::check([] {
    const uint64_t windows = *rc::gen::inRange<uint64_t>(1, 3000), epoch = *rc::gen::inRange<uint64_t>(0, 5);
    const Sampler sampler(*rc::gen::arbitrary<uint64_t>(), "data", windows);
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < windows; ++i) {
      const uint64_t window = sampler.Window(epoch * windows + i);
      RC_ASSERT(window < windows);
      seen.insert(window);
    }
    RC_ASSERT(seen.size() == windows);
  });
  EXPECT_TRUE(holds);
}

std::vector<uint64_t> First(const Sampler& sampler, int n, uint64_t begin = 0) {
  std::vector<uint64_t> order;
  for (int i = 0; i < n; ++i) order.push_back(sampler.Window(begin + i));
  return order;
}

TEST(Sampler, SeedDataAndEpochChangeTheOrder) {
  const auto base = First(Sampler(1, "data", 1000), 50);
  EXPECT_EQ(base, First(Sampler(1, "data", 1000), 50));
  EXPECT_NE(base, First(Sampler(2, "data", 1000), 50));
  EXPECT_NE(base, First(Sampler(1, "other", 1000), 50));
  EXPECT_NE(base, First(Sampler(1, "data", 1000), 50, 1000));
}

TEST(Sampler, TheOrderIsPinned) {
  // A checkpoint's position means nothing if this changes.
  EXPECT_EQ(First(Sampler(1, "data", 1000), 6), (std::vector<uint64_t>{552, 521, 263, 343, 596, 360}));
}

TEST(Sampler, WorksForHugeData) {
  const Sampler sampler(1, "data", uint64_t{1} << 45);
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_LT(sampler.Window(i << 30), uint64_t{1} << 45);
}

}  // namespace
}  // namespace polymoe
