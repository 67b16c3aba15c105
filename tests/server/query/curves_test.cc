#include "server/query/curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::NanSensitiveDoubleEq;
using ::testing::Pointwise;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Point At(uint64_t tokens, double value) {
  return {.attempt = 1, .step = tokens, .tokens = tokens, .time_ms = 0, .value = value};
}

::testing::Matcher<std::vector<double>> Are(const std::vector<double>& values) {
  return Pointwise(NanSensitiveDoubleEq(), values);
}

TEST(GridMilestones, AreEndsOfSteps) {
  EXPECT_THAT(GridMilestones(1000, 4, 1), ElementsAre(250, 500, 750, 1000));
  EXPECT_THAT(GridMilestones(1000, 4, 100), ElementsAre(300, 500, 800, 1000));
  EXPECT_THAT(GridMilestones(1000, 4, 300), ElementsAre(300, 600, 900, 1200)) << "training ends past its target";
  EXPECT_THAT(GridMilestones(1000, 3, 1), ElementsAre(334, 667, 1000)) << "never before its share is reached";
}

TEST(GridMilestones, ThoseThatCoincideAreOne) {
  EXPECT_THAT(GridMilestones(10, 100, 4), ElementsAre(4, 8, 12));
  EXPECT_THAT(GridMilestones(0, 100, 4), ElementsAre());
}

TEST(GridMilestones, TrillionsFit) {
  EXPECT_EQ(GridMilestones(std::numeric_limits<uint64_t>::max() / 2, 100, 1).back(), std::numeric_limits<uint64_t>::max() / 2);
}

TEST(CurveOf, LossIsTheMeanOfItsSteps) {
  EXPECT_THAT(CurveOf("loss", {At(1, 4), At(2, 2), At(3, 8), At(4, 6)}, {2, 4}), Are({3, 7}));
}

TEST(CurveOf, AMilestoneThatIsNotReachedHasNoMeanYet) {
  EXPECT_THAT(CurveOf("loss", {At(1, 4), At(2, 2), At(3, 8)}, {2, 4}), Are({3, kNone}));
}

TEST(CurveOf, AValidationIsTheLastOne) {
  EXPECT_THAT(CurveOf("val_loss/a", {At(1, 4), At(2, 3), At(3, 2)}, {2, 4}), Are({3, 2}));
  EXPECT_THAT(CurveOf("val_loss/a", {At(3, 2)}, {2, 4, 6}), Are({kNone, 2, kNone}));
}

TEST(CurveOf, ANumberThatIsNoneStaysNone) {
  EXPECT_THAT(CurveOf("loss", {At(1, kNone), At(2, 2), At(3, 5), At(4, 5)}, {2, 4}), Are({kNone, 5}));
}

TEST(CurveOf, NothingOfNothing) {
  EXPECT_THAT(CurveOf("loss", {}, {2, 4}), Are({kNone, kNone}));
  EXPECT_THAT(CurveOf("loss", {At(1, 1)}, {}), Are({}));
}

}  // namespace
}  // namespace polymoe
