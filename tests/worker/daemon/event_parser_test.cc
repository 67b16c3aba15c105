#include "worker/daemon/event_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "google/protobuf/util/delimited_message_util.h"

#include "polymoe/v1/trainer.pb.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

std::string Delimited(const v1::TrainerEvent& event) {
  std::string bytes;
  google::protobuf::io::StringOutputStream out(&bytes);
  google::protobuf::util::SerializeDelimitedToZeroCopyStream(event, &out);
  return bytes;
}

v1::TrainerEvent Error(const std::string& text) {
  v1::TrainerEvent event;
  event.set_error(text);
  return event;
}

TEST(EventParser, AnySplitGivesTheSameEvents) {
  v1::TrainerEvent started;
  started.mutable_started()->set_start_step(7);
  // An empty message is one zero byte; 300 bytes need a length of two bytes.
  const std::string stream = Delimited(started) + Delimited(v1::TrainerEvent()) + Delimited(Error(std::string(300, 'e')));
  for (size_t i = 0; i <= stream.size(); ++i) {
    for (size_t j = i; j <= stream.size(); ++j) {
      EventParser parser;
      std::vector<v1::TrainerEvent> events;
      for (const std::string& piece : {stream.substr(0, i), stream.substr(i, j - i), stream.substr(j)}) {
        const auto some = parser.Feed(piece);
        ASSERT_TRUE(some.ok()) << some.status();
        events.insert(events.end(), some->begin(), some->end());
      }
      ASSERT_EQ(events.size(), 3u) << "split at " << i << ", " << j;
      EXPECT_EQ(events[0].started().start_step(), 7u);
      EXPECT_EQ(events[1].event_case(), v1::TrainerEvent::EVENT_NOT_SET);
      EXPECT_EQ(events[2].error().size(), 300u);
    }
  }
}

TEST(EventParser, GarbageIsAnErrorAndStaysOne) {
  EventParser parser;
  const auto events = parser.Feed("\x05garbage");
  EXPECT_EQ(events.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(events.status().message()), HasSubstr("garbled: bytes that are no TrainerEvent"));
  EXPECT_FALSE(parser.Feed(Delimited(Error("e"))).ok());
}

TEST(EventParser, ALengthThatIsNoVarintIsAnError) {
  EventParser parser;
  EXPECT_TRUE(parser.Feed("\xff\xff\xff").ok());  // may go on
  EXPECT_THAT(std::string(parser.Feed("\xff\xff\xff\xff\xff\xff\xff\xff").status().message()), HasSubstr("no varint"));
}

TEST(EventParser, TheSizeOfAMessageIsBounded) {
  EventParser fits, too_big;
  const std::string overhead = Delimited(Error(std::string(EventParser::kMaxEventBytes - 4, 'e')));
  EXPECT_TRUE(fits.Feed(overhead).ok());
  EXPECT_THAT(
      std::string(too_big.Feed(Delimited(Error(std::string(EventParser::kMaxEventBytes, 'e'))).substr(0, 8)).status().message()),
      HasSubstr("more than 1048576"));
}

TEST(EventParser, RandomBytesNeverCrash) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    std::minstd_rand random(seed);
    EventParser parser;
    for (int piece = 0; piece < 5; ++piece) {
      std::string bytes(random() % 40, '\0');
      for (char& c : bytes) c = static_cast<char>(random() % (seed % 2 == 0 ? 256 : 16));
      if (!parser.Feed(bytes).ok()) break;
    }
  }
}

}  // namespace
}  // namespace polymoe
