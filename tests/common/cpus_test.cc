#include "common/cpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Cpus, SharesAreInOrderAndDisjoint) {
  EXPECT_THAT(ShareCpus({0, 1, 4, 5}, 2, 2), ElementsAre(ElementsAre(0, 1), ElementsAre(4, 5)));
  EXPECT_THAT(ShareCpus({0, 1, 2, 3}, 4, 1), ElementsAre(ElementsAre(0), ElementsAre(1), ElementsAre(2), ElementsAre(3)));
  EXPECT_THAT(ShareCpus({7}, 1, 1), ElementsAre(ElementsAre(7)));
}

TEST(Cpus, WhatIsTooLittleForAShareIsLeftOver) {
  EXPECT_THAT(ShareCpus({0, 1, 2, 3, 4}, 2, 2), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
}

TEST(Cpus, TooManyThreadsHaveNoFixedCpus) {
  EXPECT_THAT(ShareCpus({0, 1}, 2, 2), IsEmpty());
  EXPECT_THAT(ShareCpus({0, 1}, 1, 3), IsEmpty());
  EXPECT_THAT(ShareCpus({}, 1, 1), IsEmpty());
  EXPECT_THAT(ShareCpus({0}, 1, 0), IsEmpty());
}

TEST(Cpus, WhereAnotherProgramFitsThereAreNoFixedCpus) {
  EXPECT_THAT(ShareCpus({0, 1}, 1, 1), IsEmpty());
  EXPECT_THAT(ShareCpus({0, 1, 2, 3, 4, 5}, 2, 2), IsEmpty());
}

TEST(Cpus, UsableAreThoseOfTheThreadsMask) {
  const std::vector<int> all = UsableCpus();
  ASSERT_FALSE(all.empty());
  std::thread([&all] {  // a thread of its own: the mask goes with it
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET(all.back(), &last);
    ASSERT_EQ(sched_setaffinity(0, sizeof(last), &last), 0);
    EXPECT_THAT(UsableCpus(), ElementsAre(all.back()));
  })
      .join();
}

}  // namespace
}  // namespace polymoe
