// WorkerService over the wire: registration comes first, the newest stream of a worker wins, and a bad worker breaks nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/fakes/program.h"
#include "tests/server/services/service_harness.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

class WorkerServiceTest : public ServiceTest {
 protected:
  v1::ListWorkersResponse List() {
    Settle();
    TestContext context;
    v1::ListWorkersResponse response;
    EXPECT_TRUE(workers_->List(&context, {}, &response).ok());
    return response;
  }
};

TEST_F(WorkerServiceTest, AnythingBeforeTheRegistrationEndsTheSession) {
  WorkerSession session(channel_);
  v1::WorkerMessage heartbeat;
  heartbeat.mutable_heartbeat()->set_sequence(1);
  session.Write(heartbeat);
  const grpc::Status status = session.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("must register"));
}

TEST_F(WorkerServiceTest, ARegistrationThatCannotBeServed) {
  v1::WorkerMessage message;
  *message.mutable_register_() = Registration("", 1, "i");
  WorkerSession nameless(channel_);
  nameless.Write(message);
  EXPECT_EQ(nameless.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  *message.mutable_register_() = Registration("a", 2, "i");
  message.mutable_register_()->mutable_slots(1)->set_index(0);
  WorkerSession doubled(channel_);
  doubled.Write(message);
  const grpc::Status status = doubled.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "worker a has slot 0 twice");
  EXPECT_EQ(List().workers_size(), 0);
}

TEST_F(WorkerServiceTest, RegisteredHeartbeatsAndReportsAreAnswered) {
  WorkerSession session(channel_);
  const v1::Registered registered = session.Register(Registration("a", 1, "i"));
  EXPECT_EQ(registered.lease_ms(), 3'600'000);
  EXPECT_GT(registered.heartbeat_ms(), 0);
  v1::WorkerMessage heartbeat;
  heartbeat.mutable_heartbeat()->set_sequence(7);
  session.Write(heartbeat);
  EXPECT_EQ(session.Next(&v1::CoordinatorMessage::has_heartbeat_ack).heartbeat_ack().sequence(), 7u);
  session.Report(Points(Ref("unknown job", 1, 0), 1, 2));  // acknowledged, without effect
  const v1::ListWorkersResponse list = List();
  ASSERT_EQ(list.workers_size(), 1);
  EXPECT_EQ(list.workers(0).name(), "a");
  EXPECT_TRUE(list.workers(0).connected());
  EXPECT_EQ(list.workers(0).slots_size(), 1);
}

TEST_F(WorkerServiceTest, TheNewestStreamWins) {
  WorkerSession old(channel_);
  old.Register(Registration("a", 1, "i"));
  const std::string job = Train(ServiceFile("j"), old);
  WorkerSession now(channel_);
  now.Register(Registration("a", 1, "i", {Ref(job, 1, 0)}));
  const grpc::Status status = old.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_message(), HasSubstr("connect again"));
  now.Report(Points(Ref(job, 1, 0), 5, 1.5));
  EXPECT_EQ(Get(job).progress().step(), 5u);
  EXPECT_EQ(Get(job).state(), v1::JOB_STATE_RUNNING) << "the rank is the same";
  EXPECT_TRUE(List().workers(0).connected()) << "the end of the old stream is not the worker's";
}

TEST_F(WorkerServiceTest, AStreamThatEndsLeavesTheWorkerDisconnected) {
  auto session = std::make_unique<WorkerSession>(channel_);
  session->Register(Registration("a", 1, "i"));
  EXPECT_TRUE(session->Leave().ok());
  // The end of the call reaches the client before the coordinator.
  EXPECT_TRUE(WaitUntil([&] { return !List().workers(0).connected(); }, absl::Seconds(30)));
  const std::string job = Submit(ServiceFile("j"));
  Settle();
  EXPECT_EQ(Get(job).state(), v1::JOB_STATE_PENDING) << "nothing is placed there";
  WorkerSession again(channel_);
  again.Register(Registration("a", 1, "i"));
  EXPECT_EQ(again.NextLaunch().job(), job);
}

TEST_F(WorkerServiceTest, Drain) {
  WorkerSession session(channel_);
  session.Register(Registration("a", 1, "i"));
  TestContext context;
  v1::DrainWorkerRequest request;
  request.set_worker("a");
  v1::Worker worker;
  ASSERT_TRUE(workers_->DrainWorker(&context, request, &worker).ok());
  EXPECT_TRUE(worker.draining());
  session.Next(&v1::CoordinatorMessage::has_drain);
  Submit(ServiceFile("j"));
  Settle();
  EXPECT_EQ(Get("j").state(), v1::JOB_STATE_PENDING);
  TestContext unknown;
  request.set_worker("nope");
  EXPECT_EQ(workers_->DrainWorker(&unknown, request, &worker).error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace polymoe
