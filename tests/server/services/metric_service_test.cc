// MetricService over the wire: every axis, downsampled on the server, with the newer attempt's points in place of the older ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/services/service_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

// Values of one step, at 10 tokens and a second a step.
v1::Report Values(const v1::RankRef& rank, uint64_t step, double loss, const std::string& also = "") {
  v1::Report report = Points(rank, step, loss);
  report.mutable_points()->set_time_ms(static_cast<int64_t>(step) * 1000);
  if (!also.empty()) (*report.mutable_points()->mutable_values())[also] = 2 * loss;
  return report;
}

class MetricServiceTest : public ServiceTest {
 protected:
  MetricServiceTest() { worker_.Register(Registration("a", 2, "i")); }

  // A job with `steps` steps, whose loss at step s is `first` - s.
  std::string Trained(const std::string& name, uint64_t steps, double first) {
    const std::string job = Train(ServiceFile(name), worker_);
    for (uint64_t s = 1; s <= steps; ++s) worker_.Report(Values(Ref(job, 1, 0), s, first - static_cast<double>(s)));
    return job;
  }
  grpc::Status Query(const v1::QueryRequest& request, v1::QueryResponse* response) {
    TestContext context;
    return metrics_->Query(&context, request, response);
  }
  // Steps and values of the loss.
  std::vector<std::pair<uint64_t, double>> Loss(v1::QueryRequest request) {
    request.add_names("loss");
    v1::QueryResponse response;
    EXPECT_TRUE(Query(request, &response).ok());
    std::vector<std::pair<uint64_t, double>> points;
    EXPECT_EQ(response.series_size(), 1);
    for (const v1::SeriesPoint& p : response.series(0).points()) points.emplace_back(p.step(), p.value());
    return points;
  }
  static v1::QueryRequest Of(const std::string& job, v1::Axis axis, double from, double to) {
    v1::QueryRequest request;
    request.set_job(job);
    request.set_axis(axis);
    request.set_from(from);
    request.set_to(to);
    return request;
  }

  WorkerSession worker_{channel_};
};

TEST_F(MetricServiceTest, QueriesOnEveryAxis) {
  Trained("a", 6, 10);
  EXPECT_THAT(Loss(Of("a", v1::AXIS_STEP, 2, 3)), ElementsAre(Pair(2, 8), Pair(3, 7)));
  EXPECT_THAT(Loss(Of("a", v1::AXIS_TOKENS, 40, 50)), ElementsAre(Pair(4, 6), Pair(5, 5)));
  EXPECT_THAT(Loss(Of("a", v1::AXIS_UNSPECIFIED, 40, 50)), ElementsAre(Pair(4, 6), Pair(5, 5))) << "tokens";
  EXPECT_THAT(Loss(Of("a", v1::AXIS_TIME, 5000, 9e9)), ElementsAre(Pair(5, 5), Pair(6, 4)));
  EXPECT_THAT(Loss(Of("a", v1::AXIS_STEP, 7, 9)), IsEmpty());
}

TEST_F(MetricServiceTest, DownsamplesOnTheServer) {
  Trained("a", 100, 200);
  v1::QueryRequest request;
  request.set_job("a");
  request.set_axis(v1::AXIS_STEP);
  request.set_max_points(10);
  v1::QueryResponse response;
  ASSERT_TRUE(Query(request, &response).ok());
  ASSERT_EQ(response.series_size(), 1);
  EXPECT_LE(response.series(0).points_size(), 10);
  uint64_t count = 0;
  double sum = 0;
  for (const v1::SeriesPoint& p : response.series(0).points()) {
    EXPECT_LE(p.min(), p.value());
    EXPECT_GE(p.max(), p.value());
    count += p.count();
    sum += p.value() * p.count();
  }
  EXPECT_EQ(count, 100u);
  EXPECT_NEAR(sum, 100 * 200 - 5050, 1e-6);
  EXPECT_EQ(response.series(0).points().rbegin()->step(), 100u) << "of the newest point";
}

TEST_F(MetricServiceTest, AllNamesOrTheNamedOnes) {
  const std::string job = Train(ServiceFile("a"), worker_);
  worker_.Report(Values(Ref(job, 1, 0), 1, 4, "val_loss/near"));
  v1::QueryRequest request;
  request.set_job("a");
  v1::QueryResponse response;
  ASSERT_TRUE(Query(request, &response).ok());
  ASSERT_EQ(response.series_size(), 2);
  EXPECT_EQ(response.series(1).name(), "val_loss/near");
  EXPECT_EQ(response.series(1).job(), job);
  request.add_names("val_loss/near");
  ASSERT_TRUE(Query(request, &response).ok());
  ASSERT_EQ(response.series_size(), 1);
  EXPECT_EQ(response.series(0).points(0).value(), 8);
  request.set_job("nope");
  EXPECT_EQ(Query(request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(MetricServiceTest, AfterARestartTheNewerAttemptsPointsCount) {
  const std::string job = Trained("a", 5, 10);
  worker_.Report(Saved(Ref(job, 1, 0), 3));
  worker_.Report(Exited(Ref(job, 1, 0), 1));
  EXPECT_EQ(worker_.NextLaunch().attempt(), 2u);
  EXPECT_THAT(Loss(Of("a", v1::AXIS_STEP, 0, 99)), ElementsAre(Pair(1, 9), Pair(2, 8), Pair(3, 7), Pair(4, 6), Pair(5, 5)))
      << "an attempt that does not train yet supersedes nothing";
  worker_.Report(Started(Ref(job, 2, 0), 3));
  worker_.Report(Values(Ref(job, 2, 0), 4, 1.5));
  EXPECT_THAT(Loss(Of("a", v1::AXIS_STEP, 0, 99)), ElementsAre(Pair(1, 9), Pair(2, 8), Pair(3, 7), Pair(4, 1.5)));
}

TEST_F(MetricServiceTest, ComparesAtEqualTokens) {
  const std::string a = Trained("a", 8, 10), b = Trained("b", 4, 20);
  v1::CompareRequest request;
  for (const std::string& job : {a, b}) request.add_jobs(job);
  request.add_names("loss");
  request.add_names("none");
  request.set_grid(2);
  TestContext context;
  v1::CompareResponse response;
  ASSERT_TRUE(metrics_->Compare(&context, request, &response).ok());
  EXPECT_THAT(response.tokens(), ElementsAre(20, 40)) << "parts of what both reached";
  ASSERT_EQ(response.rows_size(), 4);
  EXPECT_EQ(response.rows(0).job(), a);
  EXPECT_EQ(response.rows(0).cells(1).value(), 6);
  EXPECT_EQ(response.rows(1).job(), b);
  EXPECT_EQ(response.rows(1).cells(0).value(), 18);
  EXPECT_EQ(response.rows(2).name(), "none");
  EXPECT_FALSE(response.rows(2).cells(0).present());
  TestContext empty;
  EXPECT_EQ(metrics_->Compare(&empty, {}, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.add_jobs("nope");
  TestContext missing;
  EXPECT_EQ(metrics_->Compare(&missing, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(MetricServiceTest, StreamsHistoryThenWhatComes) {
  const std::string a = Trained("a", 3, 10), b = Train(ServiceFile("b"), worker_);
  v1::StreamRequest request;
  request.add_jobs("a");
  request.add_names("loss");
  request.set_history(true);
  TestContext context;
  const auto reader = metrics_->Stream(&context, request);
  std::vector<std::pair<uint64_t, double>> points;
  const auto read = [&] {
    v1::StreamResponse response;
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.job(), a);
    EXPECT_EQ(response.attempt(), 1u);
    EXPECT_EQ(response.points().values_size(), 1);
    points.emplace_back(response.points().step(), response.points().values().at("loss"));
  };
  for (int i = 0; i < 3; ++i) read();
  worker_.Report(Values(Ref(b, 1, 0), 4, 1));  // of another job
  worker_.Report(Values(Ref(a, 1, 0), 4, 6, "grad_norm"));
  read();
  EXPECT_THAT(points, ElementsAre(Pair(1, 9), Pair(2, 8), Pair(3, 7), Pair(4, 6)));
}

TEST_F(MetricServiceTest, AStreamOfAJobThatIsNotThere) {
  v1::StreamRequest request;
  request.add_jobs("nope");
  TestContext context;
  const auto reader = metrics_->Stream(&context, request);
  v1::StreamResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace polymoe
