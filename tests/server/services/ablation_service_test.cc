// AblationService over the wire: submitted, watched to the end, listed, paused, cancelled; many runs at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/spec/names.h"
#include "tests/server/services/service_harness.h"
#include "tests/server/state/ablation_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

class AblationServiceTest : public ServiceTest {
 protected:
  grpc::Status Submit(const std::string& request_id, const v1::AblationFile& file, v1::SubmitAblationResponse* response) {
    TestContext context;
    return ablations_->Submit(&context, AblationRequest(request_id, file), response);
  }
  v1::Ablation Submit(const v1::AblationFile& file = AblationOf()) {
    v1::SubmitAblationResponse response;
    const grpc::Status status = Submit(absl::StrCat("ablation ", ++requests_), file, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.ablation();
  }
  v1::Ablation GetAblation(const std::string& ablation) {
    TestContext context;
    v1::GetAblationRequest request;
    request.set_ablation(ablation);
    v1::Ablation response;
    EXPECT_TRUE(ablations_->Get(&context, request, &response).ok());
    return response;
  }
  std::vector<std::string> Ids(const v1::ListAblationsRequest& request, std::string* next = nullptr) {
    TestContext context;
    v1::ListAblationsResponse response;
    EXPECT_TRUE(ablations_->List(&context, request, &response).ok());
    std::vector<std::string> ids;
    for (const v1::Ablation& ablation : response.ablations()) ids.push_back(ablation.id());
    if (next != nullptr) *next = response.next_page_token();
    return ids;
  }
  template <class Request>
  grpc::Status Call(grpc::Status (v1::AblationService::Stub::*method)(grpc::ClientContext*, const Request&, v1::Ablation*),
                    const std::string& ablation, v1::Ablation* response) {
    TestContext context;
    Request request;
    request.set_ablation(ablation);
    return (ablations_.get()->*method)(&context, request, response);
  }
  // The next launched rank trains `steps` steps of 10 tokens and ends.
  std::string RunOne(WorkerSession& worker, uint64_t steps) {
    const v1::Launch launch = worker.NextLaunch();
    const v1::RankRef rank = Ref(launch.job(), launch.attempt(), 0);
    worker.Report(Started(rank));
    for (uint64_t step = 1; step <= steps; ++step) worker.Report(Points(rank, step, 2));
    worker.Report(Exited(rank, 0));
    return launch.job();
  }
};

TEST_F(AblationServiceTest, FromSubmitToTheEnd) {
  WorkerSession worker(channel_);
  worker.Register(Registration("a", 1, "i"));
  const v1::Ablation submitted = Submit();
  EXPECT_THAT(submitted.id(), StartsWith("study-"));
  EXPECT_EQ(submitted.progress().runs(), 4u);
  EXPECT_EQ(submitted.progress().tokens_target(), 4000u);
  std::vector<std::string> order;
  for (int run = 0; run < 4; ++run) {
    order.push_back(RunOne(worker, 100));
    EXPECT_EQ(GetAblation("study").progress().ended(), run + 1u);
  }
  for (int run = 0; run < 4; ++run) EXPECT_EQ(order[run], submitted.runs(run).job());
  Settle();
  const v1::Ablation ablation = GetAblation(submitted.id());
  EXPECT_EQ(ablation.state(), v1::ABLATION_STATE_SUCCEEDED);
  EXPECT_GT(ablation.finished_ms(), 0);
  EXPECT_EQ(ablation.progress().tokens(), 4000u);
  EXPECT_EQ(ablation.progress().tokens_target(), 4000u);
  EXPECT_EQ(ablation.progress().running(), 0u);
}

TEST_F(AblationServiceTest, SubmitIsIdempotentAndTakesOnlyValidFiles) {
  v1::SubmitAblationResponse first, again;
  ASSERT_TRUE(Submit("r", AblationOf(), &first).ok());
  ASSERT_TRUE(Submit("r", AblationOf(), &again).ok());
  EXPECT_TRUE(again.existed());
  EXPECT_EQ(again.ablation().id(), first.ablation().id());
  v1::AblationFile file = AblationOf();
  (*file.mutable_spec()->mutable_arms(1)->mutable_set())["model.topK"] = "9";
  const grpc::Status invalid = Submit("s", file, &again);
  EXPECT_EQ(invalid.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(invalid.error_message(), HasSubstr("spec.arms[1].set.model.topK: 9 is more than the 2 experts there are (arm b)"));
  EXPECT_EQ(Submit("", AblationOf(), &again).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Ids({}), SizeIs(1));
  EXPECT_THAT(coordinator_.view()->jobs, SizeIs(4)) << "nothing of a refused one is left";
}

TEST_F(AblationServiceTest, WatchShowsAllThenChangesAndEndsWithTheAblation) {
  WorkerSession worker(channel_);
  worker.Register(Registration("a", 1, "i"));
  const std::string id = Submit().id();
  Settle();
  TestContext context;
  v1::WatchAblationRequest request;
  request.set_ablation("study");
  const auto reader = ablations_->Watch(&context, request);
  v1::WatchAblationResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.ablation().id(), id);
  EXPECT_THAT(response.jobs(), SizeIs(4));
  ServiceTest::Submit(ServiceFile("other"));
  for (int run = 0; run < 4; ++run) RunOne(worker, 2);
  std::map<std::string, uint64_t> revisions;
  std::set<std::string> ended;
  do {
    for (const v1::Job& job : response.jobs()) {
      EXPECT_EQ(job.ablation().id(), id) << "no job of its own";
      EXPECT_GT(job.revision(), revisions[job.id()]) << "a change twice";
      revisions[job.id()] = job.revision();
      if (IsFinal(job.state())) ended.insert(job.id());
    }
    EXPECT_EQ(response.ablation().progress().ended(), ended.size());
  } while (reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(response.ablation().state(), v1::ABLATION_STATE_SUCCEEDED);
  EXPECT_THAT(ended, SizeIs(4));
}

TEST_F(AblationServiceTest, PauseResumeAndCancelByName) {
  WorkerSession worker(channel_);
  worker.Register(Registration("a", 1, "i"));
  const std::string id = Submit().id();
  const v1::Launch launch = worker.NextLaunch();
  worker.Report(Started(Ref(launch.job(), 1, 0)));
  v1::Ablation ablation;
  ASSERT_TRUE(Call(&v1::AblationService::Stub::Pause, "study", &ablation).ok());
  EXPECT_EQ(ablation.state(), v1::ABLATION_STATE_PAUSED);
  EXPECT_EQ(worker.Next(&v1::CoordinatorMessage::has_stop).stop().job(), launch.job());
  worker.Report(Stopped(Ref(launch.job(), 1, 0)));
  EXPECT_EQ(Get(launch.job()).waiting().reason(), v1::WAIT_REASON_HELD);
  ASSERT_TRUE(Call(&v1::AblationService::Stub::Resume, id, &ablation).ok());
  EXPECT_EQ(worker.NextLaunch().attempt(), 2u);
  ASSERT_TRUE(Call(&v1::AblationService::Stub::Cancel, id, &ablation).ok());
  EXPECT_TRUE(ablation.cancel_requested());
  EXPECT_EQ(ablation.progress().ended(), 3u);
  worker.Report(Stopped(Ref(launch.job(), 2, 0)));
  EXPECT_EQ(GetAblation(id).state(), v1::ABLATION_STATE_CANCELLED);
  const grpc::Status none = Call(&v1::AblationService::Stub::Cancel, "nope", &ablation);
  EXPECT_EQ(none.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(none.error_message(), HasSubstr("polyctl ablation ls"));
}

TEST_F(AblationServiceTest, AnArmIsAdded) {
  const std::string id = Submit().id();
  TestContext context;
  v1::AddArmRequest request;
  request.set_ablation("study");
  request.mutable_arm()->set_name("c");
  (*request.mutable_arm()->mutable_set())["model.activation.kind"] = "polynorm";
  v1::Ablation ablation;
  ASSERT_TRUE(ablations_->AddArm(&context, request, &ablation).ok());
  EXPECT_EQ(ablation.id(), id);
  EXPECT_EQ(ablation.progress().runs(), 6u);
}

TEST_F(AblationServiceTest, ListPagesNewestFirst) {
  std::set<std::string> all;
  for (int i = 0; i < 5; ++i) all.insert(Submit().id());
  v1::Ablation cancelled;
  ASSERT_TRUE(Call(&v1::AblationService::Stub::Cancel, *all.begin(), &cancelled).ok());
  v1::ListAblationsRequest request;
  request.add_states(v1::ABLATION_STATE_CANCELLED);
  EXPECT_THAT(Ids(request), ElementsAre(*all.begin()));
  request.Clear();
  request.set_page_size(2);
  std::set<std::string> seen;
  std::string next;
  do {
    for (const std::string& id : Ids(request, &next)) EXPECT_TRUE(seen.insert(id).second) << "twice";
    request.set_page_token(next);
  } while (!next.empty());
  EXPECT_EQ(seen, all);
}

TEST_F(AblationServiceTest, TwoHundredRunsAreSubmittedAtOnceAndOutliveTheCoordinator) {
  v1::AblationFile file = AblationOf();
  for (uint64_t seed = 3; seed <= 100; ++seed) file.mutable_spec()->add_seeds(seed);
  const v1::Ablation ablation = Submit(file);
  EXPECT_EQ(ablation.progress().runs(), 200u);
  Settle();
  coordinator_.Stop();
  Coordinator next({}, store_, Clock::Real(), fleet_, [](const absl::Status&) {});
  ASSERT_TRUE(next.Start().ok());
  const auto kept = next.view()->FindAblation(ablation.id());
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(ProgressOf(**kept, *next.view()).tokens_target(), 200'000u);
  for (const v1::AblationRun& run : (*kept)->runs()) EXPECT_TRUE(next.view()->jobs.contains(run.job()));
}

}  // namespace
}  // namespace polymoe
