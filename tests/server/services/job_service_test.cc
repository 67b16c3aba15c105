// JobService over the wire: what is accepted, listed, watched and cancelled.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/server/services/service_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

class JobServiceTest : public ServiceTest {
 protected:
  grpc::Status List(const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
    TestContext context;
    return jobs_->List(&context, request, response);
  }
  std::vector<std::string> Names(const v1::ListJobsRequest& request) {
    v1::ListJobsResponse response;
    EXPECT_TRUE(List(request, &response).ok());
    std::vector<std::string> names;
    for (const v1::Job& job : response.jobs()) names.push_back(job.file().metadata().name());
    return names;
  }
  grpc::Status Cancel(const std::string& job, v1::Job* response) {
    TestContext context;
    v1::CancelJobRequest request;
    request.set_job(job);
    return jobs_->Cancel(&context, request, response);
  }
  grpc::Status Validate(const v1::JobFile& file, v1::ValidateResponse* response) {
    TestContext context;
    v1::ValidateRequest request;
    *request.mutable_file() = file;
    return jobs_->Validate(&context, request, response);
  }
};

TEST_F(JobServiceTest, TheSameRequestIsOneJobHoweverOftenItComes) {
  v1::SubmitResponse first, again;
  ASSERT_TRUE(Submit("r", ServiceFile("a"), &first).ok());
  EXPECT_FALSE(first.existed());
  EXPECT_THAT(first.job().id(), StartsWith("a-"));
  EXPECT_EQ(first.job().state(), v1::JOB_STATE_PENDING);
  ASSERT_TRUE(Submit("r", ServiceFile("a"), &again).ok());
  EXPECT_TRUE(again.existed());
  EXPECT_EQ(again.job().id(), first.job().id());
  const grpc::Status other = Submit("r", ServiceFile("b"), &again);
  EXPECT_EQ(other.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(other.error_message(), HasSubstr(first.job().id()));
  EXPECT_THAT(Names({}), ElementsAre("a"));
}

TEST_F(JobServiceTest, RequestsAtOnceAreOneJobToo) {
  std::vector<std::thread> clients;
  std::vector<v1::SubmitResponse> responses(8);
  for (v1::SubmitResponse& response : responses) {
    clients.emplace_back([&] { EXPECT_TRUE(Submit("r", ServiceFile("a"), &response).ok()); });
  }
  std::set<std::string> ids;
  for (size_t i = 0; i < clients.size(); ++i) {
    clients[i].join();
    ids.insert(responses[i].job().id());
  }
  EXPECT_EQ(ids.size(), 1u);
}

TEST_F(JobServiceTest, SubmitTakesOnlyValidFilesAndFillsInTheDefaults) {
  v1::SubmitResponse response;
  v1::JobFile file = ServiceFile("a");
  file.mutable_spec()->mutable_model()->set_top_k(9);
  const grpc::Status invalid = Submit("r", file, &response);
  EXPECT_EQ(invalid.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(invalid.error_message(), HasSubstr("spec.model.topK"));
  EXPECT_EQ(Submit("", ServiceFile("a"), &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << "no request id";
  EXPECT_THAT(Names({}), IsEmpty());
  file = ServiceFile("a");
  file.mutable_spec()->mutable_train()->clear_weight_decay();
  ASSERT_TRUE(Submit("r", file, &response).ok());
  EXPECT_TRUE(response.job().file().spec().train().has_weight_decay());
}

TEST_F(JobServiceTest, ValidateSaysWhetherItWouldWait) {
  v1::ValidateResponse response;
  ASSERT_TRUE(Validate(ServiceFile("a"), &response).ok());
  EXPECT_EQ(response.would_wait().reason(), v1::WAIT_REASON_NO_WORKERS);
  WorkerSession worker(channel_);
  worker.Register(Registration("a", 1, "i"));
  ASSERT_TRUE(Validate(ServiceFile("a"), &response).ok());
  EXPECT_FALSE(response.has_would_wait());
  EXPECT_EQ(response.file().metadata().name(), "a");
  ASSERT_TRUE(Validate(ServiceFile("a", "  resources: {ranks: 2}\n"), &response).ok());
  EXPECT_EQ(response.would_wait().reason(), v1::WAIT_REASON_CLUSTER_TOO_SMALL);
  Train(ServiceFile("b"), worker);
  ASSERT_TRUE(Validate(ServiceFile("a"), &response).ok());
  EXPECT_EQ(response.would_wait().reason(), v1::WAIT_REASON_SLOTS_BUSY);
  EXPECT_NE(response.would_wait().detail(), "");
  v1::JobFile invalid = ServiceFile("a");
  invalid.mutable_spec()->mutable_model()->set_heads(3);
  EXPECT_EQ(Validate(invalid, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Names({}), ElementsAre("b")) << "validating submits nothing";
}

TEST_F(JobServiceTest, GetByIdAndByName) {
  const std::string older = Submit(ServiceFile("a")), newer = Submit(ServiceFile("a"));
  EXPECT_EQ(Get(older).id(), older);
  const v1::Job newest = Get("a");
  EXPECT_GE(newest.created_ms(), Get(older).created_ms());
  EXPECT_TRUE(newest.id() == newer || newest.created_ms() == Get(older).created_ms()) << "the newest of that name";
  TestContext context;
  v1::GetJobRequest request;
  request.set_job("nope");
  v1::Job job;
  const grpc::Status status = jobs_->Get(&context, request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("polyctl ls"));
}

TEST_F(JobServiceTest, ListFilters) {
  Submit(ServiceFile("aa", "", "study: x, seed: '1'"));
  Submit(ServiceFile("ab", "", "study: x, seed: '2'"));
  const std::string gone = Submit(ServiceFile("b", "", "study: y"));
  v1::Job cancelled;
  ASSERT_TRUE(Cancel(gone, &cancelled).ok());
  v1::ListJobsRequest request;
  (*request.mutable_labels())["study"] = "x";
  EXPECT_THAT(Names(request), UnorderedElementsAre("aa", "ab"));
  (*request.mutable_labels())["seed"] = "2";
  EXPECT_THAT(Names(request), ElementsAre("ab"));
  request.Clear();
  request.set_name_prefix("a");
  EXPECT_THAT(Names(request), UnorderedElementsAre("aa", "ab"));
  request.Clear();
  request.add_states(v1::JOB_STATE_CANCELLED);
  request.add_states(v1::JOB_STATE_FAILED);
  EXPECT_THAT(Names(request), ElementsAre("b"));
}

TEST_F(JobServiceTest, PagesAreCompleteAndWithoutRepeatsWhileJobsAreAdded) {
  std::set<std::string> before;
  for (int i = 0; i < 25; ++i) before.insert(Submit(ServiceFile("old")));
  std::vector<v1::Job> seen;
  v1::ListJobsRequest request;
  request.set_page_size(4);
  do {
    v1::ListJobsResponse response;
    ASSERT_TRUE(List(request, &response).ok());
    EXPECT_LE(response.jobs_size(), 4);
    seen.insert(seen.end(), response.jobs().begin(), response.jobs().end());
    request.set_page_token(response.next_page_token());
    Submit(ServiceFile("new"));
  } while (!request.page_token().empty());
  std::set<std::string> ids;
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_TRUE(ids.insert(seen[i].id()).second) << "twice: " << seen[i].id();
    EXPECT_GE(seen[i == 0 ? 0 : i - 1].created_ms(), seen[i].created_ms()) << "newest first";
    before.erase(seen[i].id());
  }
  EXPECT_THAT(before, IsEmpty()) << "never listed";
}

TEST_F(JobServiceTest, APageTokenThatListDidNotGive) {
  v1::ListJobsRequest request;
  request.set_page_token("nonsense");
  v1::ListJobsResponse response;
  EXPECT_EQ(List(request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(JobServiceTest, CancelIsIdempotent) {
  const std::string waiting = Submit(ServiceFile("a"));
  v1::Job job;
  ASSERT_TRUE(Cancel(waiting, &job).ok());
  EXPECT_EQ(job.state(), v1::JOB_STATE_CANCELLED) << "a waiting job at once";
  const uint64_t revision = job.revision();
  ASSERT_TRUE(Cancel(waiting, &job).ok());
  EXPECT_EQ(job.revision(), revision) << "nothing changes any more";
  EXPECT_EQ(Cancel("nope", &job).error_code(), grpc::StatusCode::NOT_FOUND);

  WorkerSession worker(channel_);
  worker.Register(Registration("a", 1, "i"));
  const std::string running = Train(ServiceFile("b"), worker);
  ASSERT_TRUE(Cancel("b", &job).ok());
  EXPECT_EQ(job.state(), v1::JOB_STATE_RUNNING) << "until its ranks have ended";
  EXPECT_TRUE(job.cancel_requested());
  ASSERT_TRUE(Cancel("b", &job).ok());
  EXPECT_EQ(worker.Next(&v1::CoordinatorMessage::has_stop).stop().job(), running);
  worker.Report(Stopped(Ref(running, 1, 0)));
  EXPECT_EQ(Get(running).state(), v1::JOB_STATE_CANCELLED);
}

class WatchTest : public JobServiceTest {
 protected:
  std::unique_ptr<grpc::ClientReader<v1::WatchJobsResponse>> Watch(grpc::ClientContext* context,
                                                                   const std::vector<std::string>& jobs) {
    v1::WatchJobsRequest request;
    request.mutable_jobs()->Assign(jobs.begin(), jobs.end());
    return jobs_->Watch(context, request);
  }
};

TEST_F(WatchTest, FirstEveryJobThenEachChangeOnce) {
  const std::string a = Submit(ServiceFile("a")), b = Submit(ServiceFile("b"));
  Settle();
  TestContext context;
  const auto reader = Watch(&context, {});
  v1::WatchJobsResponse response;
  std::map<std::string, v1::Job> seen;
  while (seen.size() < 2) {
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_GT(response.job().revision(), seen[response.job().id()].revision());
    seen[response.job().id()] = response.job();
  }
  v1::Job job;
  ASSERT_TRUE(Cancel(a, &job).ok());
  const std::string c = Submit(ServiceFile("c"));
  while (seen[a].state() != v1::JOB_STATE_CANCELLED || !seen.contains(c)) {
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_GT(response.job().revision(), seen[response.job().id()].revision()) << "a change twice";
    seen[response.job().id()] = response.job();
  }
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(WatchTest, OnlyTheJobsThatWereAskedFor) {
  const std::string a = Submit(ServiceFile("a")), b = Submit(ServiceFile("b"));
  TestContext context;
  const auto reader = Watch(&context, {"b"});
  v1::WatchJobsResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.job().id(), b);
  v1::Job job;
  ASSERT_TRUE(Cancel(a, &job).ok());
  ASSERT_TRUE(Cancel(b, &job).ok());
  do {
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.job().id(), b);
  } while (response.job().state() != v1::JOB_STATE_CANCELLED);
}

TEST_F(WatchTest, AJobThatIsNotThere) {
  TestContext context;
  const auto reader = Watch(&context, {"nope"});
  v1::WatchJobsResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(WatchTest, ClientsThatLeaveDisturbNobody) {
  Submit(ServiceFile("a"));
  for (int i = 0; i < 20; ++i) {
    TestContext context;
    const auto reader = Watch(&context, {});
    if (i % 2 == 0) {
      v1::WatchJobsResponse response;
      ASSERT_TRUE(reader->Read(&response));
    }
    context.TryCancel();
    Submit(ServiceFile(absl::StrCat("b", i)));
  }
  EXPECT_EQ(Get("b19").file().metadata().name(), "b19");
}

}  // namespace
}  // namespace polymoe
