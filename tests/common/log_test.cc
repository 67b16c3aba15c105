#include "common/log.h"

#include <gtest/gtest.h>

namespace polymoe {
namespace {

TEST(Log, JsonEscapesWhatPeopleSend) {
  testing::internal::CaptureStderr();
  InitLog({.format = LogFormat::kJson, .program = "test"});
  LogWarning("worker lost", {{"worker", "a\"b\n"}});
  const std::string line = testing::internal::GetCapturedStderr();
  EXPECT_NE(line.find(R"("level":"warning","program":"test","message":"worker lost","worker":"a\"b\u000a"})"), std::string::npos)
      << line;
}

TEST(Log, LevelsBelowTheThresholdAreSilent) {
  InitLog({.format = LogFormat::kJson, .level = LogLevel::kWarning, .program = "test"});
  testing::internal::CaptureStderr();
  LogInfo("quiet");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace polymoe
