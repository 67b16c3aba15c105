// Stop rules end runs by the points that count, whatever the order in which runs and coordinators come and go.
#include "server/coordinator/stop_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

#include "tests/server/services/service_harness.h"
#include "tests/server/state/ablation_harness.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// 1000 tokens are 100 steps of 10.
constexpr char kRules[] = "  budget: {tokens: 1k}\n  stop: {hopelessNats: 0.5, hopelessAfterTokens: 200, divergedNats: 1}\n";

class StopWatchTest : public ServiceTest {
 protected:
  StopWatchTest() {
    worker_.Register(Registration("w", 4, "i"));
    v1::AblationFile file = AblationOf(kRules);
    file.mutable_spec()->mutable_seeds()->Truncate(1);
    TestContext context;
    v1::SubmitAblationResponse response;
    EXPECT_TRUE(ablations_->Submit(&context, AblationRequest("r", file), &response).ok());
    study_ = response.ablation().id();
    baseline_ = response.ablation().runs(0).job();
    other_ = response.ablation().runs(1).job();
    for (int run = 0; run < 2; ++run) {
      const v1::Launch launch = worker_.NextLaunch();
      worker_.Report(Started(Ref(launch.job(), 1, 0)));
    }
  }
  void Watch() {
    watch_ = std::make_shared<StopWatch>(coordinator_);
    coordinator_.AddListener(watch_);
    watch_->ShowAll(*coordinator_.view());
  }

  void Loss(const std::string& job, uint64_t step, double loss, uint32_t attempt = 1) {
    worker_.Report(Points(Ref(job, attempt, 0), step, loss));
  }
  void Validate(const std::string& job, uint64_t step, double loss, uint32_t attempt = 1) {
    v1::Report report = Points(Ref(job, attempt, 0), step, 2);
    (*report.mutable_points()->mutable_values())["val_loss/v"] = loss;
    worker_.Report(report);
  }
  // The job that the next stop order is for.
  std::string NextStopped() { return worker_.Next(&v1::CoordinatorMessage::has_stop).stop().job(); }
  std::string Why(int run) { return (*coordinator_.view()->FindAblation(study_))->runs(run).stopped(); }

  WorkerSession worker_{channel_};
  std::string study_, baseline_, other_;
  std::shared_ptr<StopWatch> watch_;
};

TEST_F(StopWatchTest, ARunThatFallsBehindTheBaselineIsStopped) {
  Watch();
  Validate(other_, 10, 9);
  Validate(baseline_, 10, 2);  // before hopelessAfterTokens
  Validate(other_, 20, 2.4);
  Validate(baseline_, 20, 2);
  Validate(other_, 30, 2.6);
  Validate(other_, 40, 9);
  Validate(baseline_, 30, 2);
  EXPECT_EQ(NextStopped(), other_);
  EXPECT_EQ(Why(1), "its validation loss at 300 tokens, 2.6000, is 0.6000 above the baseline's (hopelessNats: 0.5)");
  worker_.Report(Stopped(Ref(other_, 1, 0), "w"));
  worker_.Report(Exited(Ref(baseline_, 1, 0), 0, "w"));
  Settle();
  EXPECT_EQ((*coordinator_.view()->FindAblation(study_))->state(), v1::ABLATION_STATE_SUCCEEDED);
}

TEST_F(StopWatchTest, ALossThatDivergesStopsItsRun) {
  Watch();
  Loss(baseline_, 1, 5);
  Loss(baseline_, 2, 6.5);
  Loss(baseline_, 3, 5);
  EXPECT_EQ(NextStopped(), baseline_);
  EXPECT_THAT(Why(0), StartsWith("its training loss up to 20 tokens, 6.5000, is 1.5000 above"));
}

TEST_F(StopWatchTest, WhatTheLastCoordinatorSawIsLookedAtAgain) {
  for (uint64_t step : {20, 30}) {
    Validate(baseline_, step, 2);
    Validate(other_, step, step == 20 ? 2 : 3);
  }
  Watch();
  EXPECT_EQ(NextStopped(), other_);
  EXPECT_THAT(Why(1), HasSubstr("at 300 tokens"));
}

TEST_F(StopWatchTest, PointsThatALaterAttemptSupersededDoNotCount) {
  worker_.Report(Saved(Ref(other_, 1, 0), 20));
  Validate(baseline_, 20, 2);
  Validate(baseline_, 30, 2);
  Validate(baseline_, 40, 2);
  Validate(other_, 20, 2);
  Validate(other_, 30, 9);  // goes with the attempt
  worker_.Report(Exited(Ref(other_, 1, 0), 1, "w"));
  EXPECT_EQ(NextStopped(), other_) << "the attempt that failed, not the run";
  const v1::Launch again = worker_.NextLaunch();
  ASSERT_EQ(again.job(), other_);
  worker_.Report(Started(Ref(other_, 2, 0), 20));
  Watch();
  Validate(other_, 30, 2.1, 2);
  Validate(other_, 40, 2.7, 2);
  EXPECT_EQ(NextStopped(), other_);
  EXPECT_THAT(Why(1), HasSubstr("at 400 tokens, 2.7000"));
}

}  // namespace
}  // namespace polymoe
