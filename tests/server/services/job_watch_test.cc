// JobWatch when a commit and the first picture cross: whichever comes first, a client never sees a job go back, nor anything twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/services/job_streams.h"
#include "tests/server/services/service_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

std::shared_ptr<const v1::Job> AtRevision(const std::string& id, uint64_t revision) {
  v1::Job job;
  job.set_id(id);
  job.set_revision(revision);
  return std::make_shared<v1::Job>(std::move(job));
}

// Watch in which the order of events is fixed: a commit is heard before the view, which was taken earlier, is shown; then the commit
// is heard that the view already had.
class CrossedWatch final : public v1::JobService::CallbackService {
 public:
  grpc::ServerWriteReactor<v1::WatchJobsResponse>* Watch(grpc::CallbackServerContext*, const v1::WatchJobsRequest*) override {
    const auto stream = StreamWriter<v1::WatchJobsResponse>::Open(std::make_shared<JobWatch>(std::set<std::string>{}),
                                                                  CallTimer(metrics_, "JobService/Watch"));
    View view;
    view.jobs = {{"a", AtRevision("a", 1)}, {"b", AtRevision("b", 4)}};
    stream->OnCommit({.jobs = {AtRevision("a", 2)}});
    stream->ShowAll(view);
    stream->OnCommit({.jobs = {AtRevision("b", 4), AtRevision("a", 3)}});
    stream->End(grpc::Status::OK);
    return stream.get();
  }

 private:
  prometheus::Registry registry_;
  FleetMetrics metrics_{registry_};
};

TEST(JobWatchTest, ShowsEachJobForwardsOnly) {
  CrossedWatch service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto jobs = v1::JobService::NewStub(server->InProcessChannel({}));
  TestContext context;
  const auto reader = jobs->Watch(&context, {});
  std::vector<std::string> seen;
  v1::WatchJobsResponse response;
  while (reader->Read(&response)) seen.push_back(absl::StrCat(response.job().id(), response.job().revision()));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(seen, ElementsAre("a2", "b4", "a3"));
}

}  // namespace
}  // namespace polymoe
