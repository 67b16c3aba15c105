// What /metrics shows of the coordinator itself.
#include "server/metrics/fleet_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace polymoe {
namespace {

using ::testing::HasSubstr;

class FleetMetricsTest : public ::testing::Test {
 protected:
  std::string Scrape() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  prometheus::Registry registry_;
  FleetMetrics metrics_{registry_};
};

TEST_F(FleetMetricsTest, CountsFollowTheFleet) {
  metrics_.SetFleet({.jobs = {{"running", 3}}, .workers = {{"connected", 2}}, .slots_total = 8, .slots_busy = 5});
  metrics_.SetFleet({.jobs = {{"running", 1}}, .workers = {{"connected", 4}}, .slots_total = 8, .slots_busy = 6});
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_jobs{state=\"running\"} 1\n"));
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_workers{state=\"connected\"} 4\n"));
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_slots{state=\"free\"} 2\n"));
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_slots{state=\"busy\"} 6\n"));
}

TEST_F(FleetMetricsTest, TheQueueIsAsOldAsItIs) {
  metrics_.SetFleet({.oldest_waiting_ms = 2500});
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_queue_oldest_timestamp_seconds 2.5\n"));
  metrics_.SetFleet({});
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_queue_oldest_timestamp_seconds 0\n"));
}

TEST_F(FleetMetricsTest, CallsAreCountedByOutcomeAndTimedByMethod) {
  metrics_.ObserveRpc("JobService/Submit", "OK", absl::Milliseconds(2));
  metrics_.ObserveRpc("JobService/Submit", "OK", absl::Milliseconds(2));
  metrics_.ObserveRpc("JobService/Submit", "ALREADY_EXISTS", absl::Seconds(60));
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_rpc_requests_total{code=\"OK\",method=\"JobService/Submit\"} 2\n"));
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_rpc_requests_total{code=\"ALREADY_EXISTS\",method=\"JobService/Submit\"} 1\n"));
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_rpc_duration_seconds_count{method=\"JobService/Submit\"} 3\n"));
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_rpc_duration_seconds_bucket{method=\"JobService/Submit\",le=\"0.005\"} 2\n"));
}

TEST_F(FleetMetricsTest, PassesAndEndsAreCounted) {
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_attempt_ends_total{reason=\"worker_lost\"} 0\n"));
  metrics_.ObservePass(absl::Microseconds(20));
  metrics_.CountAttemptEnd("worker_lost");
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_scheduler_pass_duration_seconds_count 1\n"));
  EXPECT_THAT(Scrape(), HasSubstr("polymoe_attempt_ends_total{reason=\"worker_lost\"} 1\n"));
}

}  // namespace
}  // namespace polymoe
