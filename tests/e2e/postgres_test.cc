// A coordinator on PostgreSQL that is killed while it trains: nothing is lost, and the views say what the service says.
#include "tests/fakes/postgres.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "tests/e2e/cluster.h"
#include "tests/e2e/training_job.h"

namespace polymoe {
namespace {

TEST(PostgresClusterTest, AKilledCoordinatorLosesNothing) {
  PostgresServer postgres;
  const std::string url = postgres.NewDatabase();
  Cluster cluster(absl::Seconds(30), url);  // the worker must outwait the restarts
  cluster.StartServer();
  cluster.StartWorker("w1");
  const Output submitted = cluster.Polyctl({"submit", WriteJob(cluster.dir())});
  ASSERT_EQ(submitted.exit_code, 0) << submitted.err;
  const std::string job(absl::StripAsciiWhitespace(submitted.out));
  for (const int step : {20, 200}) {
    ASSERT_TRUE(WaitUntil([&] {
      int now = 0;
      return absl::SimpleAtoi(cluster.JobField(job, "/progress/step"), &now) && now >= step;
    })) << cluster.LogTail("server");
    cluster.Kill("server");
    cluster.StartServer();
  }
  ASSERT_TRUE(cluster.WaitForState(job, "SUCCEEDED")) << cluster.LogTail("server");
  EXPECT_EQ(cluster.JobField(job, "/attempts/1/number"), "") << "training noticed";

  const auto ask = [&](const std::string& sql) { return postgres.Query(url, sql); };
  EXPECT_EQ(ask("SELECT name, activation, state, tokens = tokens_target, finished_at > created_at FROM runs"),
            "tiny|polynorm|succeeded|t|t");
  EXPECT_EQ(ask("SELECT count(*), min(step), max(step) FROM run_points WHERE name = 'loss'"), absl::StrCat(kSteps, "|1|", kSteps));
  EXPECT_EQ(ask("SELECT count(*), max(tokens) FROM run_curves WHERE metric = 'loss'"),
            absl::StrCat("100|", kSteps * kTokensPerStep));
  double newest = 0;
  ASSERT_TRUE(absl::SimpleAtod(ask("SELECT value FROM run_points WHERE name = 'loss' ORDER BY step DESC LIMIT 1"), &newest));
  EXPECT_EQ(cluster.JobField(job, "/progress/loss").substr(0, 6), absl::StrCat(newest).substr(0, 6));
}

}  // namespace
}  // namespace polymoe
