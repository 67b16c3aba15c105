// Every call is counted by method and outcome, streams and waits too, and nothing that a client sends becomes a label.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/metric_family.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"

#include "tests/fakes/program.h"
#include "tests/server/services/service_harness.h"

namespace polymoe {
namespace {

using ::testing::IsSupersetOf;
using ::testing::Pair;

class RpcMetricsTest : public ServiceTest {
 protected:
  // "method code" -> count.
  std::map<std::string, double> Counts() {
    std::map<std::string, double> counts;
    for (const prometheus::MetricFamily& family : registry_.Collect()) {
      if (family.name != "polymoe_rpc_requests_total") continue;
      for (const prometheus::ClientMetric& metric : family.metric) {
        std::map<std::string, std::string> labels;
        for (const auto& label : metric.label) labels[label.name] = label.value;
        EXPECT_EQ(labels.size(), 2u);
        counts[absl::StrCat(labels["method"], " ", labels["code"])] = metric.counter.value;
      }
    }
    return counts;
  }
  // Calls that end for the client may still be ending for the server.
  void WaitFor(const std::string& key, double count) {
    EXPECT_TRUE(WaitUntil([&] { return Counts()[key] == count; }, absl::Seconds(30))) << key;
  }
};

TEST_F(RpcMetricsTest, UnaryCallsByOutcome) {
  Submit(ServiceFile("a"));
  v1::SubmitResponse response;
  for (int i = 0; i < 3; ++i) Submit("", ServiceFile("a"), &response);
  for (int i = 0; i < 5; ++i) Get(absl::StrCat("job that is not there ", i));
  Get("a");
  EXPECT_THAT(Counts(), IsSupersetOf({Pair("JobService/Submit OK", 1), Pair("JobService/Submit INVALID_ARGUMENT", 3),
                                      Pair("JobService/Get OK", 1), Pair("JobService/Get NOT_FOUND", 5)}));
  EXPECT_EQ(Counts().size(), 4u) << "names of jobs are no labels";
}

TEST_F(RpcMetricsTest, StreamsAndWaitsWhenTheyEnd) {
  {
    WorkerSession bad(channel_);
    bad.Write({});
    bad.Finish();
  }
  WaitFor("WorkerService/Session INVALID_ARGUMENT", 1);
  WorkerSession worker(channel_);
  worker.Register(Registration("a", 1, "i"));
  const std::string job = Train(ServiceFile("j"), worker);
  {
    TestContext context;
    const auto reader = jobs_->Watch(&context, {});
    v1::WatchJobsResponse response;
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_FALSE(Counts().contains("JobService/Watch OK"));
    context.TryCancel();
    reader->Finish();
  }
  WaitFor("JobService/Watch CANCELLED", 1);
  {
    TestContext context;
    v1::StreamLogsRequest request;
    request.set_job("j");
    const auto reader = jobs_->StreamLogs(&context, request);
    reader->Finish();
  }
  WaitFor("JobService/StreamLogs OK", 1);
  {
    TestContext context;
    v1::StreamRequest request;
    request.add_jobs("nope");
    metrics_->Stream(&context, request)->Finish();
  }
  WaitFor("MetricService/Stream NOT_FOUND", 1);
  {
    TestContext context;
    v1::WaitRequest request;
    request.mutable_scope()->set_job(job);
    request.mutable_scope()->set_attempt(7);
    v1::WaitResponse response;
    spaces_->Wait(&context, request, &response);
  }
  WaitFor("RendezvousService/Wait FAILED_PRECONDITION", 1);
}

}  // namespace
}  // namespace polymoe
