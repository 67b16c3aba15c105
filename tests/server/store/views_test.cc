// The views answer what the functions of server/query answer from the same points, in both databases.
#include <gtest/gtest.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "server/query/curves.h"
#include "tests/server/store/backend.h"

namespace polymoe {
namespace {

class ViewsTest : public BackendTest {
 protected:
  // Columns separated by '|', NULL and NaN as "-", rows by newlines.
  std::string Query(const std::string& columns, const std::string& rest) {
    std::vector<std::string> parts;
    for (const auto column : absl::StrSplit(columns, ',')) {
      const std::string name(column);
      parts.push_back(absl::StrCat("coalesce(CAST(", name, " AS TEXT), '-')"));
    }
    const std::string sql = absl::StrCat("SELECT ", absl::StrJoin(parts, " || '|' || "), " FROM ", rest);
    if (is_postgresql()) return postgres().Query(url(), sql);
    soci::session session(soci::sqlite3, "db=\"" + path() + "\"");
    std::vector<std::string> rows;
    std::string row;
    soci::statement select = (session.prepare << sql, soci::into(row));
    select.execute();
    while (select.fetch()) rows.push_back(row);
    return absl::StrJoin(rows, "\n");
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, ViewsTest, ::testing::Values("sqlite", "postgresql"), BackendName);

std::string JobJson(const std::string& target, const std::string& attempts) {
  return absl::StrCat(
      R"({"id": "j", "file": {"metadata": {"name": "tiny"}, "spec": {"model": {"activation": {"kind": "ACTIVATION_KIND_POLYNORM"}},)",
      R"("data": {"sequenceLength": 32}, "train": {"tokens": ")", target,
      R"(", "globalBatch": 8, "seed": "3"}}}, "state": "JOB_STATE_RUNNING",)",
      R"("createdMs": "1700000000500", "progress": {"tokens": "512"}, "ablation": {"id": "abl-1", "name": "abl", "arm": "poly", "seed": "3"},)",
      R"("attempts": [)", attempts, "]}");
}

TEST_P(ViewsTest, RunsAreTheJobs) {
  const auto store = Open();
  // The second has nothing that may be left out, and figures that no integer holds.
  ASSERT_TRUE(
      store
          ->Commit(
              {.jobs = {{"j", "r", JobJson("1024", "")},
                        {"k", "s",
                         R"({"state": "JOB_STATE_PENDING", "file": {"spec": {"train": {"tokens": "18446744073709551615"}}}})"}}})
          .ok());
  EXPECT_EQ(
      Query("job,name,ablation,ablation_name,arm,activation,seed,state,tokens,tokens_target,step_tokens", "runs ORDER BY job"),
      "j|tiny|abl-1|abl|poly|polynorm|3|running|512|1024|256\nk|||||-|0|pending|0|9000000000000000|0");
  const std::string created = Query("created_at,finished_at", "runs WHERE job = 'j'");
  EXPECT_EQ(created.substr(0, 10), "2023-11-14") << created;
  EXPECT_EQ(created.substr(created.size() - 2), "|-") << created;
}

TEST_P(ViewsTest, CurvesAreThoseOfTheQueryFunctions) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const auto store = Open();
  // Targets that the grid divides and that it does not, fewer steps than milestones, and a run that is not over.
  for (const uint64_t target : {256u * 300, 256u * 7, 100'001u, 99u}) {
    for (const uint64_t reached : {uint64_t{5}, (target + 255) / 256}) {
      const std::vector<AttemptStart> attempts = {{1, 0}, {3, 4}, {4, 2}, {6, 3}};  // the second and the fifth never trained
      const std::string job = absl::StrCat("job-", target, "-", reached);
      StoreBatch batch = {
          .jobs = {{job, job, JobJson(absl::StrCat(target), R"({"number": 1, "startedRanks": [0]}, {"number": 2, "startStep": "1"},
          {"number": 3, "startStep": "4", "startedRanks": [0, 1]}, {"number": 4, "startStep": "2", "startedRanks": [0]}, {"number": 5},
          {"number": 6, "startStep": "3", "startedRanks": [0]})")}}};
      std::map<std::string, std::vector<Point>> series;
      for (uint32_t attempt = 1; attempt <= 6; ++attempt) {
        for (uint64_t step = 1; step <= reached; ++step) {
          const double value = random() % 50 == 0 ? std::numeric_limits<double>::quiet_NaN() : (random() % 100'000) * 1e-4;
          const Point point = {attempt, step, step * 256, 1, value};
          for (const char* name : {"loss", "grad_norm"}) series[name].push_back(point);
          if (random() % 3 == 0) series["val_loss/near"].push_back(point);
          if (step % 4 == 0) series["val_bpb/far"].push_back(point);
        }
      }
      for (auto& [name, points] : series) {
        for (const Point& point : points) batch.points.push_back({job, name, point});
      }
      ASSERT_TRUE(store->Commit(batch).ok());

      const std::vector<uint64_t> milestones = GridMilestones(target, 100, 256);
      std::map<std::string, double> expected, seen;  // "metric|tokens"
      for (const auto& [name, points] : series) {
        const std::vector<Point> counted = Supersede(points, attempts);
        if (name == "loss") {
          EXPECT_EQ(Query("count(*)", absl::StrCat("run_points WHERE name = 'loss' AND job = '", job, "'")),
                    absl::StrCat(counted.size()));
        }
        if (name == "grad_norm") continue;
        const std::vector<double> curve = CurveOf(name, counted, milestones);
        for (size_t i = 0; i < curve.size(); ++i) {
          if (!std::isnan(curve[i])) expected[absl::StrCat(name, "|", milestones[i])] = curve[i];
        }
      }
      const std::string rows = Query(
          "metric,tokens,value", absl::StrCat("run_curves WHERE ablation = 'abl-1' AND job = '", job, "' ORDER BY metric, tokens"));
      for (const auto line : absl::StrSplit(rows, '\n', absl::SkipEmpty())) {
        const std::vector<std::string> columns = absl::StrSplit(line, '|');
        ASSERT_EQ(columns.size(), 3u) << line;
        if (columns[2] == "-" || columns[2] == "NaN") continue;
        ASSERT_TRUE(absl::SimpleAtod(columns[2], &seen[columns[0] + "|" + columns[1]])) << line;
      }
      ASSERT_EQ(seen.size(), expected.size()) << job << "\n" << rows;
      for (const auto& [key, value] : expected) {
        ASSERT_TRUE(seen.contains(key)) << job << " " << key;
        EXPECT_NEAR(seen[key], value, 1e-9) << job << " " << key;
      }
    }
  }
}

}  // namespace
}  // namespace polymoe
