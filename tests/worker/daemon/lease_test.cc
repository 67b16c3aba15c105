#include "worker/daemon/lease.h"

#include <gtest/gtest.h>

namespace polymoe {
namespace {

constexpr absl::Duration kSecond = absl::Seconds(1);

TEST(Lease, CountsFromTheSendingOfWhatWasAnswered) {
  Lease lease;
  EXPECT_LT(lease.deadline(), absl::ZeroDuration());
  lease.Registered(10 * kSecond, /*sent=*/100 * kSecond);
  EXPECT_EQ(lease.deadline(), 110 * kSecond);
  const uint64_t first = lease.HeartbeatSent(101 * kSecond);
  const uint64_t second = lease.HeartbeatSent(102 * kSecond);
  EXPECT_EQ(lease.deadline(), 110 * kSecond);  // sending proves nothing
  lease.HeartbeatAcknowledged(second);
  EXPECT_EQ(lease.deadline(), 112 * kSecond);
  lease.HeartbeatAcknowledged(first);  // out of order: nothing goes back
  EXPECT_EQ(lease.deadline(), 112 * kSecond);
  lease.HeartbeatAcknowledged(second);
  lease.HeartbeatAcknowledged(99);
  EXPECT_EQ(lease.deadline(), 112 * kSecond);
}

TEST(Lease, ANewStreamForgetsOldHeartbeats) {
  Lease lease;
  lease.Registered(10 * kSecond, 100 * kSecond);
  const uint64_t old = lease.HeartbeatSent(105 * kSecond);
  lease.Registered(4 * kSecond, 107 * kSecond);
  EXPECT_EQ(lease.deadline(), 111 * kSecond);
  lease.HeartbeatAcknowledged(old);
  EXPECT_EQ(lease.deadline(), 111 * kSecond);
  EXPECT_NE(lease.HeartbeatSent(108 * kSecond), old);
}

TEST(ReconnectDelay, DoublesToASecondWithAnUpperHalfOfChance) {
  EXPECT_EQ(ReconnectDelay(1, 0), absl::Milliseconds(50));
  EXPECT_EQ(ReconnectDelay(1, 1), absl::Milliseconds(100));
  EXPECT_EQ(ReconnectDelay(3, 1), absl::Milliseconds(400));
  EXPECT_EQ(ReconnectDelay(6, 1), absl::Seconds(1));
  EXPECT_EQ(ReconnectDelay(1'000'000, 1), absl::Seconds(1));
  EXPECT_EQ(ReconnectDelay(1'000'000, 0), absl::Milliseconds(500));
}

}  // namespace
}  // namespace polymoe
