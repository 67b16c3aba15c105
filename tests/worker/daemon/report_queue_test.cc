#include "worker/daemon/report_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "rapidcheck.h"
#include "rapidcheck/gtest.h"

#include "polymoe/v1/worker.pb.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

v1::Report Exit(uint32_t rank = 0) {
  v1::Report report;
  report.mutable_rank()->set_job("j");
  report.mutable_rank()->set_rank(rank);
  report.mutable_exited();
  return report;
}
v1::Report Checkpoint() {
  v1::Report report;
  report.mutable_checkpoint();
  return report;
}
v1::Report Log(const std::string& text = "line") {
  v1::Report report;
  report.mutable_log()->set_text(text);
  return report;
}
v1::Report Points() {
  v1::Report report;
  report.mutable_points()->set_step(1);
  return report;
}

std::vector<uint64_t> SendAll(ReportQueue* queue) {
  std::vector<uint64_t> sent;
  while (const auto message = queue->NextToSend()) sent.push_back(message->report().sequence());
  return sent;
}

TEST(ReportQueue, NumbersFromOneAndSendsOnce) {
  ReportQueue queue({});
  EXPECT_EQ(queue.Push(Log()), 1u);
  EXPECT_EQ(queue.Push(Exit()), 2u);
  EXPECT_THAT(SendAll(&queue), ElementsAre(1, 2));
  EXPECT_THAT(SendAll(&queue), ElementsAre());
  queue.Push(Log());
  EXPECT_TRUE(queue.HasUnsent());
  EXPECT_THAT(SendAll(&queue), ElementsAre(3));
}

TEST(ReportQueue, AfterARewindWhatIsNotAcknowledgedGoesAgainInOrder) {
  ReportQueue queue({});
  for (int i = 0; i < 5; ++i) queue.Push(Log());
  SendAll(&queue);
  queue.Acknowledge(2);
  EXPECT_FALSE(queue.HasUnsent());
  queue.Rewind();
  EXPECT_THAT(SendAll(&queue), ElementsAre(3, 4, 5));
}

TEST(ReportQueue, DropsLogLinesBeforePointsAndNothingElse) {
  ReportQueue queue({.reports = 4});
  queue.Push(Points());      // 1
  queue.Push(Log());         // 2
  queue.Push(Checkpoint());  // 3
  queue.Push(Log());         // 4
  queue.Push(Exit());        // 5: 2 goes
  queue.Push(Exit());        // 6: 4 goes
  EXPECT_EQ(queue.dropped().log_lines, 2u);
  queue.Push(Exit());  // 7: 1 goes
  EXPECT_EQ(queue.dropped().points, 1u);
  queue.Push(Exit());  // 8: nothing may go
  EXPECT_THAT(SendAll(&queue), ElementsAre(3, 5, 6, 7, 8));
}

TEST(ReportQueue, BytesAreLimitedToo) {
  ReportQueue queue({.bytes = 10'000});
  for (int i = 0; i < 100; ++i) queue.Push(Log(std::string(1000, 'x')));
  EXPECT_LE(queue.bytes(), 10'000u);
  EXPECT_EQ(queue.size(), 9u);
  EXPECT_EQ(queue.dropped().log_lines, 91u);
  queue.Acknowledge(100);
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(ReportQueue, KnowsWhoseEndIsNotAcknowledged) {
  ReportQueue queue({});
  queue.Push(Exit(3));
  queue.Push(Log());
  queue.Push(Exit(4));
  queue.Acknowledge(1);
  ASSERT_EQ(queue.UnacknowledgedExits().size(), 1u);
  EXPECT_EQ(queue.UnacknowledgedExits()[0].rank(), 4u);
}

// Any mix of pushes, sends, acknowledgements and reconnects, against what the coordinator would have seen.
RC_GTEST_PROP(ReportQueueProperty, NothingImportantIsLostAndOrderHolds, ()) {
  const auto limit = *rc::gen::inRange<size_t>(1, 20);
  ReportQueue queue({.reports = limit});
  std::vector<uint64_t> important;  // numbers of pushed exits and checkpoints
  std::vector<uint64_t> received;   // first receipts, in order
  uint64_t last_received = 0, on_stream = 0, waiting_important = 0, acknowledged = 0, pushed = 0;
  for (const int action : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 7))) {
    if (action <= 3) {
      const uint64_t number = queue.Push(action == 0 ? Exit() : action == 1 ? Checkpoint() : action == 2 ? Log() : Points());
      RC_ASSERT(number == ++pushed);
      if (action <= 1) important.push_back(number);
    } else if (action == 4) {
      if (const auto message = queue.NextToSend()) {
        const uint64_t number = message->report().sequence();
        RC_ASSERT(number > on_stream);     // ascending on a stream
        RC_ASSERT(number > acknowledged);  // never again after its acknowledgement
        on_stream = number;
        if (number > last_received) received.push_back(last_received = number);
      }
    } else if (action == 5) {
      acknowledged = std::max(acknowledged, last_received);
      queue.Acknowledge(last_received);
    } else {
      queue.Rewind();
      on_stream = 0;
    }
    waiting_important = std::count_if(important.begin(), important.end(), [&](uint64_t n) { return n > acknowledged; });
    RC_ASSERT(queue.size() <= std::max<size_t>(limit, waiting_important));
  }
  queue.Rewind();
  for (const uint64_t number : SendAll(&queue)) {
    if (number > last_received) received.push_back(last_received = number);
  }
  RC_ASSERT(std::includes(received.begin(), received.end(), important.begin(), important.end()));
  RC_ASSERT(received.size() + queue.dropped().log_lines + queue.dropped().points >= pushed);
}

}  // namespace
}  // namespace polymoe
