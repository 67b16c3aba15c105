#include "worker/train/profile_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace polymoe {
namespace {

using Clock = OpProfile::Clock;

// Two operations: a product of 3 GFLOP that took 10 ms three times, and one that moves 1 GB in 100 ms.
class ProfileReport : public ::testing::Test {
 protected:
  ProfileReport() {
    profile_.Record(true);
    const Clock::time_point start{};
    for (int i = 0; i < 3; ++i) {
      profile_.Add({"linear", {4096, 512, 384}, 3e9, 2e6}, start + std::chrono::milliseconds(20 * i),
                   start + std::chrono::milliseconds(20 * i + 10));
    }
    profile_.Add({"adamw", {1000, 0, 0}, 0, 1e9}, start + std::chrono::milliseconds(100), start + std::chrono::milliseconds(200));
  }

  OpProfile profile_{10};
};

TEST_F(ProfileReport, TableHasTheLongestFirstAndAccountsForAllTime) {
  EXPECT_EQ(RenderProfile(
                profile_,
                {.steps = 1, .seconds = 0.2, .tokens = 100, .flops_per_token = 1e8, .product_roof = 600e9, .memory_roof = 40e9}),
            "roof: 600.0 GFLOP/s in products, 40.0 GB/s of memory (measured at the start)\n"
            "operation                                       calls   ms/step  share  GFLOP/s  roof     GB/s  roof\n"
            "adamw 1000                                          1    100.00  50.0%                    10.0   25%\n"
            "linear 4096x512x384                                 3     30.00  15.0%    300.0   50%      0.2    0%\n"
            "outside operations                                        70.00  35.0%\n"
            "step                                                     200.00 100.0%     50.0    8%\n"
            "500 tokens/s over 1 steps\n");
}

TEST_F(ProfileReport, SaysWhyThereIsNothing) {
  EXPECT_EQ(RenderProfile(profile_, {}), "nothing to show: the first step warms up and is not measured; train for more\n");
}

TEST_F(ProfileReport, TraceIsOneForTheUsualViewers) {
  const nlohmann::json trace = nlohmann::json::parse(ChromeTrace(profile_));
  ASSERT_EQ(trace["traceEvents"].size(), 4u);
  const nlohmann::json& second = trace["traceEvents"][1];
  EXPECT_EQ(second["name"], "linear");
  EXPECT_EQ(second["ph"], "X");
  EXPECT_EQ(second["ts"], 20000.0);  // microseconds from the first
  EXPECT_EQ(second["dur"], 10000.0);
  EXPECT_EQ(second["args"]["sizes"], "4096x512x384");
  EXPECT_EQ(trace["traceEvents"][3]["name"], "adamw");
}

}  // namespace
}  // namespace polymoe
