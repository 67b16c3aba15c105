#include "server/query/series.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

Point At(uint32_t attempt, uint64_t step, double value) {
  return {attempt, step, step * 100, static_cast<int64_t>(step) * 10, value};
}

std::vector<std::pair<uint32_t, uint64_t>> Ids(const std::vector<Point>& points) {
  std::vector<std::pair<uint32_t, uint64_t>> ids;
  for (const Point& p : points) ids.emplace_back(p.attempt, p.step);
  return ids;
}

TEST(Supersede, ANewerAttemptReplacesWhatFollowsItsStart) {
  // Attempt 1 reached step 5, attempt 2 resumed from step 3.
  const auto points = Supersede({At(1, 1, 0), At(1, 2, 0), At(1, 3, 0), At(1, 4, 0), At(1, 5, 0), At(2, 4, 0)}, {{1, 0}, {2, 3}});
  EXPECT_THAT(Ids(points), ElementsAre(std::pair(1, 1), std::pair(1, 2), std::pair(1, 3), std::pair(2, 4)));
}

TEST(Supersede, AThirdAttemptCanGoBackBehindTheSecond) {
  const auto points = Supersede({At(1, 2, 0), At(1, 4, 0), At(2, 6, 0), At(3, 3, 0)}, {{1, 0}, {2, 4}, {3, 2}});
  EXPECT_THAT(Ids(points), ElementsAre(std::pair(1, 2), std::pair(3, 3)));
}

TEST(Supersede, NoStepIsSeenTwiceWhateverHappened) {
  const bool holds = rc::check([] {
    std::vector<Point> points;
    std::vector<AttemptStart> attempts;
    uint64_t reached = 0;
    const int count = *rc::gen::inRange(1, 6);
    for (int a = 1; a <= count; ++a) {
      const uint64_t start = *rc::gen::inRange<uint64_t>(0, reached + 1);
      const uint64_t end = start + *rc::gen::inRange<uint64_t>(0, 20);
      attempts.push_back({static_cast<uint32_t>(a), start});
      for (uint64_t s = start + 1; s <= end; ++s) points.push_back(At(a, s, a));
      reached = std::max(start, end);
    }
    const auto seen = Supersede(points, attempts);
    RC_ASSERT(seen.size() == reached);  // steps 1..reached, each once: nothing lost, nothing doubled
    for (size_t i = 0; i < seen.size(); ++i) RC_ASSERT(seen[i].step == i + 1);
  });
  EXPECT_TRUE(holds);
}

TEST(Downsample, BucketsKeepMeanExtremesAndCount) {
  std::vector<Point> points;
  for (int i = 0; i < 100; ++i) points.push_back(At(1, i, i));
  const auto buckets = Downsample(points, SeriesAxis::kStep, std::nullopt, std::nullopt, 10);
  ASSERT_EQ(buckets.size(), 10u);
  EXPECT_EQ(buckets[0].count, 10u);
  EXPECT_DOUBLE_EQ(buckets[0].mean, 4.5);
  EXPECT_EQ(buckets[0].min, 0);
  EXPECT_EQ(buckets[0].max, 9);
  EXPECT_EQ(buckets[9].last.step, 99u);
}

TEST(Downsample, FewPointsStayAsTheyAre) {
  const auto buckets = Downsample({At(1, 1, 5), At(1, 2, 7)}, SeriesAxis::kTokens, std::nullopt, std::nullopt, 10);
  ASSERT_EQ(buckets.size(), 2u);
  EXPECT_EQ(buckets[1].mean, 7);
}

TEST(Downsample, RangeIsInclusive) {
  const std::vector<Point> points = {At(1, 1, 1), At(1, 2, 2), At(1, 3, 3)};
  EXPECT_EQ(Downsample(points, SeriesAxis::kTokens, 200, 300, 0).size(), 2u);
  EXPECT_EQ(Downsample(points, SeriesAxis::kTime, std::nullopt, 10, 0).size(), 1u);
}

TEST(Downsample, ANaNShowsInItsBucketAlone) {
  std::vector<Point> points;
  for (int i = 0; i < 100; ++i) points.push_back(At(1, i, i == 55 ? std::numeric_limits<double>::infinity() : 1));
  const auto buckets = Downsample(points, SeriesAxis::kStep, std::nullopt, std::nullopt, 10);
  for (size_t i = 0; i < buckets.size(); ++i) EXPECT_EQ(std::isnan(buckets[i].mean), i == 5) << i;
}

TEST(Downsample, CountsAddUpForAnySeries) {
  const bool holds = rc::check([](std::vector<uint16_t> raw, uint8_t max_points) {
    std::sort(raw.begin(), raw.end());
    std::vector<Point> points;
    for (const uint16_t step : raw) points.push_back(At(1, step, step));
    size_t total = 0;
    const auto buckets = Downsample(points, SeriesAxis::kStep, std::nullopt, std::nullopt, max_points);
    for (const Bucket& bucket : buckets) total += bucket.count;
    RC_ASSERT(total == points.size());
    RC_ASSERT(max_points == 0 || buckets.size() <= std::max<size_t>(max_points, 1));
  });
  EXPECT_TRUE(holds);
}

TEST(Milestones, EqualTokensOfTheShortestRun) {
  const std::vector<Point> a = {At(1, 1, 9), At(1, 10, 5)}, b = {At(1, 1, 8), At(1, 5, 6), At(1, 20, 4)};
  const auto milestones = TokenMilestones({a, b}, 2);
  EXPECT_THAT(milestones, ElementsAre(500, 1000));
  EXPECT_THAT(AtMilestones(a, milestones), ElementsAre(Optional(9.0), Optional(5.0)));
  EXPECT_THAT(AtMilestones(b, milestones), ElementsAre(Optional(6.0), std::nullopt));
  EXPECT_TRUE(TokenMilestones({a, {}}, 2).empty());
}

}  // namespace
}  // namespace polymoe
