// The profile counts what it should, changes no result, and leaves the table that it wraps alone.
#include "kernels/profile.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/kernels/random_data.h"

namespace polymoe {
namespace {

using Floats = std::vector<float>;

TEST(OpProfile, CountsCallsOfOneKindTogether) {
  OpProfile profile(/*max_events=*/3);
  const Ops<float>& ops = profile.Wrap(RefOps<float>());
  const int32_t offsets[] = {0, 4};
  const Floats x = RandomVector<float>(4 * 3, 1), w = RandomVector<float>(5 * 3, 2);
  Floats y(4 * 5), want(4 * 5);
  RefOps<float>().linear({1, offsets}, 5, 3, x.data(), nullptr, w.data(), want.data());

  ops.linear({1, offsets}, 5, 3, x.data(), nullptr, w.data(), y.data());  // not recorded yet
  EXPECT_EQ(y, want);
  EXPECT_TRUE(profile.rows().empty());

  profile.Record(true);
  for (int i = 0; i < 4; ++i) ops.linear({1, offsets}, 5, 3, x.data(), nullptr, w.data(), y.data());
  const int32_t two[] = {0, 2};
  ops.linear({1, two}, 5, 3, x.data(), nullptr, w.data(), y.data());
  profile.Record(false);
  ops.linear({1, offsets}, 5, 3, x.data(), nullptr, w.data(), y.data());

  ASSERT_EQ(profile.rows().size(), 2u);
  const OpProfile::Row& row = profile.rows()[0];
  EXPECT_EQ(std::string(row.cost.op), "linear");
  EXPECT_EQ(row.cost.sizes, (std::array<int64_t, 3>{4, 5, 3}));
  EXPECT_EQ(row.cost.flops, 2 * 4 * 5 * 3);
  EXPECT_EQ(row.cost.bytes, 4 * (4 * 3 + 5 * 3 + 4 * 5));
  EXPECT_EQ(row.calls, 4);
  EXPECT_EQ(profile.rows()[1].calls, 1);
  EXPECT_EQ(profile.events().size(), 3u);  // no more than asked for
  double seconds = 0;
  for (const OpProfile::Event& event : profile.events()) seconds += event.seconds;
  EXPECT_GT(seconds, 0);
  EXPECT_LE(seconds, row.seconds);

  profile.Clear();
  EXPECT_TRUE(profile.rows().empty() && profile.events().empty());
}

// A function of the table that is not replaced would vanish from every profile.
template <class E>
void ExpectAllReplaced() {
  OpProfile profile(0);
  const Ops<E>& base = RefOps<E>();
  const Ops<E>& ops = profile.Wrap(base);
  const auto* wrapped = reinterpret_cast<void* const*>(&ops);
  const auto* plain = reinterpret_cast<void* const*>(&base);
  static_assert(sizeof(Ops<E>) % sizeof(void*) == 0);
  for (size_t i = 1; i < sizeof(Ops<E>) / sizeof(void*); ++i) EXPECT_NE(wrapped[i], plain[i]) << "function " << i;  // 0: the name
}

TEST(OpProfile, WrapsEveryOperation) {
  ExpectAllReplaced<float>();
  ExpectAllReplaced<BF16>();
}

}  // namespace
}  // namespace polymoe
