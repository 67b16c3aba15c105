#include "common/units.h"

#include <gtest/gtest.h>

namespace polymoe {
namespace {

TEST(Units, ParseCount) {
  EXPECT_EQ(ParseCount("0"), 0u);
  EXPECT_EQ(ParseCount("1_000"), 1000u);
  EXPECT_EQ(ParseCount("500k"), 500000u);
  EXPECT_EQ(ParseCount("1.5B"), 1500000000u);
  EXPECT_EQ(ParseCount("2G"), 2000000000u);
  EXPECT_EQ(ParseCount("18446744073709551615"), 18446744073709551615u);
  for (const char* bad : {"", "k", "-1", "1.5", "1.0001k", "1e400M", "nan", "infM", "12 34", "10T10"}) {
    EXPECT_EQ(ParseCount(bad), std::nullopt) << bad;
  }
}

TEST(Units, FormatCount) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(999.6), "1k");
  EXPECT_EQ(FormatCount(1234567), "1.23M");
  EXPECT_EQ(FormatCount(6919161920.0), "6.92B");
}

TEST(Units, ShortDuration) {
  EXPECT_EQ(ShortDuration(absl::Seconds(59.9)), "59s");
  EXPECT_EQ(ShortDuration(absl::Seconds(185)), "3m05s");
  EXPECT_EQ(ShortDuration(absl::Minutes(130)), "2h10m");
  EXPECT_EQ(ShortDuration(absl::Hours(76)), "3d4h");
}

TEST(Units, FormatBytes) {
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
}

}  // namespace
}  // namespace polymoe
