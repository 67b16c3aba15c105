// RendezvousService: where the ranks of the newest attempt meet, and nobody else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/server/services/service_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

class RendezvousTest : public ServiceTest {
 protected:
  RendezvousTest() {
    worker_.Register(Registration("a", 1, "i"));
    job_ = Train(ServiceFile("j"), worker_);
  }
  v1::RendezvousScope Scope(uint32_t attempt) {
    v1::RendezvousScope scope;
    scope.set_job(job_);
    scope.set_attempt(attempt);
    return scope;
  }
  grpc::Status Put(const std::string& key, const std::string& value, uint32_t attempt = 1) {
    TestContext context;
    v1::PutRequest request;
    *request.mutable_scope() = Scope(attempt);
    request.set_key(key);
    request.set_value(value);
    v1::PutResponse response;
    return spaces_->Put(&context, request, &response);
  }
  grpc::Status Get(const std::string& key, std::string* value, uint32_t attempt = 1) {
    TestContext context;
    v1::GetRequest request;
    *request.mutable_scope() = Scope(attempt);
    request.set_key(key);
    v1::GetResponse response;
    const grpc::Status status = spaces_->Get(&context, request, &response);
    *value = response.value();
    return status;
  }
  struct Waited {
    grpc::Status status;
    std::vector<std::string> values;
  };
  Waited Wait(const std::vector<std::string>& keys, uint32_t attempt = 1, grpc::ClientContext* context = nullptr) {
    TestContext own;
    v1::WaitRequest request;
    *request.mutable_scope() = Scope(attempt);
    request.mutable_keys()->Assign(keys.begin(), keys.end());
    v1::WaitResponse response;
    const grpc::Status status = spaces_->Wait(context == nullptr ? &own : context, request, &response);
    return {status, {response.values().begin(), response.values().end()}};
  }
  void FailAttempt(uint32_t attempt) {
    worker_.Report(Exited(Ref(job_, attempt, 0), 1));
    ASSERT_EQ(worker_.NextLaunch().attempt(), attempt + 1);
  }

  WorkerSession worker_{channel_};
  std::string job_;
};

TEST_F(RendezvousTest, PutThenGetAndTheLastValueWins) {
  std::string value;
  EXPECT_EQ(Get("k", &value).error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(Put("k", "one").ok());
  ASSERT_TRUE(Put("k", std::string("two\0\xff", 5)).ok());
  ASSERT_TRUE(Get("k", &value).ok());
  EXPECT_EQ(value, std::string("two\0\xff", 5)) << "any bytes";
}

TEST_F(RendezvousTest, WaitGivesTheValuesInTheOrderOfTheKeys) {
  ASSERT_TRUE(Put("a", "1").ok());
  auto waiting = std::async(std::launch::async, [&] { return Wait({"b", "a"}); });
  ASSERT_TRUE(Put("b", "2").ok());
  const Waited waited = waiting.get();
  EXPECT_TRUE(waited.status.ok());
  EXPECT_THAT(waited.values, ElementsAre("2", "1"));
  EXPECT_THAT(Wait({"a", "b"}).values, ElementsAre("1", "2")) << "already there";
  EXPECT_TRUE(Wait({}).status.ok()) << "nothing to wait for";
}

TEST_F(RendezvousTest, ManyRanksMeet) {
  constexpr int kRanks = 12;
  std::vector<std::string> keys;
  for (int r = 0; r < kRanks; ++r) keys.push_back(absl::StrCat("rank", r));
  std::vector<std::future<Waited>> ranks;
  for (int r = 0; r < kRanks; ++r) {
    ranks.push_back(std::async(std::launch::async, [&, r] {
      EXPECT_TRUE(Put(keys[r], absl::StrCat(r)).ok());
      return Wait(keys);
    }));
  }
  for (auto& rank : ranks) {
    const Waited waited = rank.get();
    ASSERT_TRUE(waited.status.ok()) << waited.status.error_message();
    for (int r = 0; r < kRanks; ++r) EXPECT_EQ(waited.values[r], absl::StrCat(r));
  }
}

TEST_F(RendezvousTest, TheDeadlineOfTheCallEndsAWait) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  EXPECT_EQ(Wait({"never"}, 1, &context).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ASSERT_TRUE(Put("never", "late").ok()) << "whoever gave up is not in the way";
  EXPECT_THAT(Wait({"never"}).values, ElementsAre("late"));
}

TEST_F(RendezvousTest, ACancelledWait) {
  grpc::ClientContext context;
  auto waiting = std::async(std::launch::async, [&] { return Wait({"never"}, 1, &context); });
  context.TryCancel();
  EXPECT_EQ(waiting.get().status.error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(RendezvousTest, OnlyTheNewestAttemptOfARunningJob) {
  std::string value;
  EXPECT_EQ(Put("k", "v", 2).error_code(), grpc::StatusCode::FAILED_PRECONDITION) << "not launched yet";
  ASSERT_TRUE(Put("k", "old").ok());
  FailAttempt(1);
  EXPECT_EQ(Put("k", "v", 1).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Get("k", &value, 1).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Wait({"k"}, 1).status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Get("k", &value, 2).error_code(), grpc::StatusCode::NOT_FOUND) << "a new attempt meets in an empty space";
  ASSERT_TRUE(Put("k", "new", 2).ok());
  worker_.Report(Exited(Ref(job_, 2, 0), 0));
  EXPECT_EQ(Get("k", &value, 2).error_code(), grpc::StatusCode::FAILED_PRECONDITION) << "the job is over";
  job_ = "nope";
  EXPECT_EQ(Put("k", "v", 1).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(RendezvousTest, TheEndOfTheAttemptWakesWhoeverWaits) {
  std::vector<std::future<Waited>> waiting;
  for (int i = 0; i < 4; ++i) waiting.push_back(std::async(std::launch::async, [&] { return Wait({"never"}); }));
  FailAttempt(1);
  for (auto& waiter : waiting) EXPECT_EQ(waiter.get().status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(RendezvousTest, AnAttemptThatIsBeingStoppedIsOver) {
  auto waiting = std::async(std::launch::async, [&] { return Wait({"never"}); });
  TestContext context;
  v1::CancelJobRequest request;
  request.set_job(job_);
  v1::Job job;
  ASSERT_TRUE(jobs_->Cancel(&context, request, &job).ok());
  EXPECT_EQ(waiting.get().status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(RendezvousTest, KeysAndValuesAreLimited) {
  EXPECT_TRUE(Put(std::string(256, 'k'), std::string(64 << 10, 'v')).ok());
  EXPECT_EQ(Put(std::string(257, 'k'), "v").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Put("k", std::string((64 << 10) + 1, 'v')).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  std::string value;
  EXPECT_EQ(Get("k", &value).error_code(), grpc::StatusCode::NOT_FOUND) << "nothing of it was kept";
}

}  // namespace
}  // namespace polymoe
