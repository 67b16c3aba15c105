// StreamLogs: history, then what comes, each line once and in order, to the last one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/server/services/service_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::Report Line(const v1::RankRef& rank, uint64_t number) {
  v1::Report report;
  *report.mutable_rank() = rank;
  report.mutable_log()->set_number(number);
  report.mutable_log()->set_text(absl::StrCat(rank.attempt(), ".", rank.rank(), ".", number));
  return report;
}

class LogStreamTest : public ServiceTest {
 protected:
  LogStreamTest() { worker_.Register(Registration("a", 2, "i")); }

  // The rest of a stream, which must end well.
  static std::vector<std::string> Rest(grpc::ClientReader<v1::LogLine>& reader) {
    std::vector<std::string> lines;
    v1::LogLine line;
    while (reader.Read(&line)) lines.push_back(line.text());
    const grpc::Status status = reader.Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return lines;
  }
  std::vector<std::string> Lines(const v1::StreamLogsRequest& request) {
    TestContext context;
    return Rest(*jobs_->StreamLogs(&context, request));
  }
  static v1::StreamLogsRequest Request(const std::string& job, bool follow = false) {
    v1::StreamLogsRequest request;
    request.set_job(job);
    request.set_follow(follow);
    return request;
  }

  WorkerSession worker_{channel_};
};

TEST_F(LogStreamTest, HistoryWithTailAttemptAndRank) {
  const std::string job = Train(ServiceFile("a", "  resources: {ranks: 2}\n"), worker_);
  for (uint64_t n = 1; n <= 3; ++n) worker_.Report(Line(Ref(job, 1, 0), n));
  worker_.Report(Line(Ref(job, 1, 1), 1));
  worker_.Report(Line(Ref(job, 1, 0), 3));  // again, as after a lost acknowledgement
  worker_.Report(Exited(Ref(job, 1, 0), 1));
  worker_.Report(Stopped(Ref(job, 1, 1)));
  EXPECT_EQ(worker_.NextLaunch().attempt(), 2u);
  worker_.Report(Line(Ref(job, 2, 0), 1));

  EXPECT_THAT(Lines(Request("a")), ElementsAre("1.0.1", "1.0.2", "1.0.3", "2.0.1"));
  v1::StreamLogsRequest request = Request(job);
  request.set_tail(2);
  EXPECT_THAT(Lines(request), ElementsAre("1.0.3", "2.0.1"));
  request.set_attempt(1);
  EXPECT_THAT(Lines(request), ElementsAre("1.0.2", "1.0.3"));
  request.set_tail(100);
  request.set_rank(1);
  EXPECT_THAT(Lines(request), ElementsAre("1.1.1"));
  request.set_attempt(9);
  EXPECT_THAT(Lines(request), IsEmpty());
}

TEST_F(LogStreamTest, FollowsFromHistoryToTheEndOfTheJob) {
  const std::string job = Train(ServiceFile("a"), worker_);
  worker_.Report(Line(Ref(job, 1, 0), 1));
  TestContext context;
  const auto reader = jobs_->StreamLogs(&context, Request(job, true));
  v1::LogLine line;
  ASSERT_TRUE(reader->Read(&line));
  EXPECT_EQ(line.text(), "1.0.1");
  worker_.Report(Line(Ref(job, 1, 0), 1));
  worker_.Report(Line(Ref(job, 1, 0), 2));
  worker_.Report(Exited(Ref(job, 1, 0), 1));
  EXPECT_EQ(worker_.NextLaunch().attempt(), 2u) << "a failed attempt does not end the stream";
  worker_.Report(Line(Ref(job, 2, 0), 1));
  worker_.Report(Line(Ref(job, 1, 0), 3));  // late: its worker had been away
  worker_.Report(Exited(Ref(job, 2, 0), 0));
  EXPECT_THAT(Rest(*reader), ElementsAre("1.0.2", "2.0.1", "1.0.3"));
  EXPECT_THAT(Lines(Request(job, true)), ElementsAre("1.0.1", "1.0.2", "1.0.3", "2.0.1"))
      << "of a job that is over it ends at once";
}

TEST_F(LogStreamTest, ManyFollowersMissAndRepeatNothingWhileLinesCome) {
  const std::string job = Train(ServiceFile("a"), worker_);
  std::vector<std::string> all;
  std::vector<std::future<std::vector<std::string>>> followers;
  for (uint64_t n = 1; n <= 100; ++n) {
    all.push_back(absl::StrCat("1.0.", n));
    if (n % 20 == 0) {
      followers.push_back(std::async(std::launch::async, [this, &job] { return Lines(Request(job, true)); }));
    }
    worker_.Report(Line(Ref(job, 1, 0), n));
  }
  worker_.Report(Exited(Ref(job, 1, 0), 0));
  for (auto& follower : followers) EXPECT_EQ(follower.get(), all);
}

// The job ends while the history is being read: its last lines are in no row that was read.
TEST_F(LogStreamTest, TheLastLinesComeWhenTheJobEndsMeanwhile) {
  const std::string job = Train(ServiceFile("a"), worker_);
  worker_.Report(Line(Ref(job, 1, 0), 1));
  store_.set_after_read_logs([&] {
    worker_.Report(Line(Ref(job, 1, 0), 2));
    worker_.Report(Exited(Ref(job, 1, 0), 0));
  });
  EXPECT_THAT(Lines(Request(job, true)), ElementsAre("1.0.1", "1.0.2"));
}

// Holds the coordinator at each of the next two commits with log lines, before the listeners that came later hear of it.
class Gate final : public CommitListener {
 public:
  struct Stage {
    std::promise<void> reached, open;
  };
  void OnCommit(const Committed& committed) override {
    if (committed.logs.empty() || next_ == stages.size()) return;
    Stage& stage = stages[next_++];
    stage.reached.set_value();
    stage.open.get_future().wait();
  }
  std::array<Stage, 2> stages;

 private:
  size_t next_ = 0;
};

// The same, but everyone can see that the job is over before the stream hears of the commit that has its last line.
TEST_F(LogStreamTest, TheLastLineComesWhenTheViewIsAheadOfTheStream) {
  const std::string job = Train(ServiceFile("a"), worker_);
  worker_.Report(Line(Ref(job, 1, 0), 1));
  const auto gate = std::make_shared<Gate>();
  coordinator_.AddListener(gate);
  store_.set_after_read_logs([&] {
    worker_.Send(Line(Ref(job, 1, 0), 2));
    gate->stages[0].reached.get_future().wait();
    worker_.Send(Line(Ref(job, 1, 0), 3));
    worker_.Send(Exited(Ref(job, 1, 0), 0));
    EXPECT_TRUE(worker_.Leave().ok());  // both wait now, and will be one commit
    gate->stages[0].open.set_value();
    gate->stages[1].reached.get_future().wait();
  });
  TestContext context;
  const auto reader = jobs_->StreamLogs(&context, Request(job, true));
  v1::LogLine line;
  ASSERT_TRUE(reader->Read(&line));
  EXPECT_EQ(line.text(), "1.0.1");
  EXPECT_EQ((*coordinator_.view()->Find(job))->state(), v1::JOB_STATE_SUCCEEDED);
  gate->stages[1].open.set_value();
  EXPECT_THAT(Rest(*reader), ElementsAre("1.0.2", "1.0.3"));
}

TEST_F(LogStreamTest, AJobThatIsNotThereAndAClientThatLeaves) {
  TestContext context;
  const auto reader = jobs_->StreamLogs(&context, Request("nope"));
  v1::LogLine line;
  EXPECT_FALSE(reader->Read(&line));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  const std::string job = Train(ServiceFile("a"), worker_);
  TestContext leaving;
  const auto left = jobs_->StreamLogs(&leaving, Request(job, true));
  leaving.TryCancel();
  EXPECT_EQ(left->Finish().error_code(), grpc::StatusCode::CANCELLED);
  worker_.Report(Line(Ref(job, 1, 0), 1));
  EXPECT_THAT(Lines(Request(job)), ElementsAre("1.0.1"));
}

}  // namespace
}  // namespace polymoe
