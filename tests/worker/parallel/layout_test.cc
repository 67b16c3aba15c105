// Which ranks belong together.
#include "worker/parallel/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace polymoe {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

TEST(Layout, TheExampleOfTheHeader) {
  EXPECT_THAT(Layout::Of(4, 0, 2).experts, ElementsAre(0, 1));
  EXPECT_THAT(Layout::Of(4, 3, 2).experts, ElementsAre(2, 3));
  EXPECT_THAT(Layout::Of(4, 0, 2).replicas, ElementsAre(0, 2));
  EXPECT_THAT(Layout::Of(4, 3, 2).replicas, ElementsAre(1, 3));
  EXPECT_THAT(Layout::Of(4, 2, 1).experts, ElementsAre(2));
  EXPECT_THAT(Layout::Of(4, 2, 4).replicas, ElementsAre(2));
}

TEST(Layout, EveryRankAgrees) {
  for (int world = 1; world <= 12; ++world) {
    for (int expert_parallel = 1; expert_parallel <= world; ++expert_parallel) {
      if (world % expert_parallel != 0) continue;
      for (int rank = 0; rank < world; ++rank) {
        const Layout layout = Layout::Of(world, rank, expert_parallel);
        ASSERT_EQ(static_cast<int>(layout.experts.size()), expert_parallel);
        ASSERT_EQ(static_cast<int>(layout.replicas.size()), world / expert_parallel);
        EXPECT_THAT(layout.experts, Contains(rank));
        EXPECT_THAT(layout.replicas, Contains(rank));
        for (const int other : layout.experts) EXPECT_EQ(Layout::Of(world, other, expert_parallel).experts, layout.experts);
        for (const int other : layout.replicas) EXPECT_EQ(Layout::Of(world, other, expert_parallel).replicas, layout.replicas);
      }
    }
  }
}

TEST(Layout, AWorldOfOneNeedsNoTransport) {
  const Ranks ranks = MakeRanks(nullptr, 1, absl::Seconds(1));
  for (Group* group : {ranks.world.get(), ranks.experts.get(), ranks.replicas.get()}) {
    EXPECT_EQ(group->size(), 1);
    EXPECT_TRUE(group->Barrier().ok());
  }
}

}  // namespace
}  // namespace polymoe
