// The store keeps what it was given, whole batches or nothing, for one process at a time.
#include "server/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

#include "tests/server/store/backend.h"

namespace polymoe {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class StoreTest : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, StoreTest, ::testing::Values("sqlite", "postgresql"), BackendName);

// "id request json"
std::vector<std::string> Jobs(Store& store) {
  std::vector<std::string> jobs;
  const auto rows = store.LoadJobs();
  EXPECT_TRUE(rows.ok()) << rows.status();
  for (const JobRow& row : rows.value()) jobs.push_back(absl::StrCat(row.id, " ", row.request_id, " ", row.json));
  return jobs;
}

bool SamePoint(const Point& a, const Point& b) {
  const bool same_value = a.value == b.value || (std::isnan(a.value) && std::isnan(b.value));
  return a.attempt == b.attempt && a.step == b.step && a.tokens == b.tokens && a.time_ms == b.time_ms && same_value;
}

std::vector<Point> ReadSeries(Store& store, const std::string& job, const std::string& name) {
  auto series = store.ReadPoints(job, {name});
  EXPECT_TRUE(series.ok()) << series.status();
  return (*series)[name];
}

std::vector<std::string> Lines(Store& store, uint32_t attempt, uint32_t rank) {
  const auto rows = store.ReadLogs("j", attempt, rank);
  EXPECT_TRUE(rows.ok()) << rows.status();
  std::vector<std::string> lines;
  for (const LogRow& row : rows.value()) lines.push_back(row.text);
  return lines;
}

TEST_P(StoreTest, ANewStoreIsEmpty) {
  const auto store = Open();
  EXPECT_THAT(Jobs(*store), IsEmpty());
  EXPECT_TRUE(store->ReadPoints("j", {})->empty());
  EXPECT_TRUE(store->ReadLogs("j", 0, 0)->empty());
}

TEST_P(StoreTest, JobsComeBackAsTheyWereLastCommitted) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit({.jobs = {{"j-1", "r1", "{}"}, {"j-2", "r2", "it's \"quoted\"\n\xC3\xA4"}}}).ok());
  ASSERT_TRUE(store->Commit({.jobs = {{"j-1", "r1", "{\"state\": 2}"}}}).ok());
  EXPECT_THAT(Jobs(*store), UnorderedElementsAre("j-1 r1 {\"state\": 2}", "j-2 r2 it's \"quoted\"\n\xC3\xA4"));
}

TEST_P(StoreTest, ALargeJobIsKeptWhole) {
  const auto store = Open();
  const std::string json(3 << 20, 'x');
  ASSERT_TRUE(store->Commit({.jobs = {{"j", "r", json}}}).ok());
  EXPECT_EQ(store->LoadJobs()->at(0).json, json);
}

TEST_P(StoreTest, EverythingIsThereAfterReopening) {
  {
    const auto store = Open();
    ASSERT_TRUE(store
                    ->Commit({.jobs = {{"j", "r", "{}"}},
                              .points = {{"j", "loss", {1, 1, 10, 5, 2.5}}, {"j", "grad_norm", {1, 1, 10, 5, 1}}},
                              .logs = {{"j", 1, 0, 1, 5, "hello"}}})
                    .ok());
  }
  const auto store = Open();
  EXPECT_THAT(Jobs(*store), ElementsAre("j r {}"));
  EXPECT_THAT(*store->ReadLogs("j", 0, 0), SizeIs(1));
  // Names keep their meaning when more are added.
  ASSERT_TRUE(store->Commit({.points = {{"j", "z_loss", {1, 1, 10, 5, 7}}, {"j", "loss", {1, 2, 20, 6, 2.25}}}}).ok());
  EXPECT_THAT(ReadSeries(*store, "j", "loss"), SizeIs(2));
  EXPECT_THAT(ReadSeries(*store, "j", "z_loss"), SizeIs(1));
  EXPECT_EQ(store->ReadPoints("j", {})->size(), 3u);
}

TEST_P(StoreTest, APointAgainReplaces) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit({.points = {{"j", "loss", {1, 5, 50, 9, 3.0}}}}).ok());
  ASSERT_TRUE(store->Commit({.points = {{"j", "loss", {1, 5, 51, 10, 2.0}}, {"j", "loss", {2, 5, 50, 11, 1.0}}}}).ok());
  const std::vector<Point> points = ReadSeries(*store, "j", "loss");
  ASSERT_THAT(points, SizeIs(2));
  EXPECT_TRUE(SamePoint(points[0], {1, 5, 51, 10, 2.0}));
  EXPECT_TRUE(SamePoint(points[1], {2, 5, 50, 11, 1.0}));
}

TEST_P(StoreTest, ALogLineAgainChangesNothing) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit({.logs = {{"j", 1, 0, 1, 5, "first"}}}).ok());
  ASSERT_TRUE(store->Commit({.logs = {{"j", 1, 0, 1, 6, "again"}, {"j", 1, 0, 2, 6, "second"}}}).ok());
  const auto lines = store->ReadLogs("j", 0, 0);
  ASSERT_THAT(*lines, SizeIs(2));
  EXPECT_EQ(lines->at(0).text, "first");
  EXPECT_EQ(lines->at(0).time_ms, 5);
}

TEST_P(StoreTest, LogsAreReadByRankAndAttemptInOrder) {
  const auto store = Open();
  ASSERT_TRUE(store
                  ->Commit({.logs = {{"j", 2, 0, 1, 0, "d"},
                                     {"j", 1, 0, 10, 0, "c"},
                                     {"j", 1, 0, 9, 0, "b"},
                                     {"j", 1, 1, 1, 0, "other rank"},
                                     {"k", 1, 0, 1, 0, "other job"}}})
                  .ok());
  EXPECT_THAT(Lines(*store, 0, 0), ElementsAre("b", "c", "d"));
  EXPECT_THAT(Lines(*store, 2, 0), ElementsAre("d"));
  EXPECT_THAT(Lines(*store, 0, 1), ElementsAre("other rank"));
  EXPECT_THAT(Lines(*store, 3, 0), IsEmpty());
}

StoreBatch LogOf(const std::vector<std::string>& texts) {
  StoreBatch batch;
  for (size_t i = 0; i < texts.size(); ++i) batch.logs.push_back({"j", 1, 0, i, 0, texts[i]});
  return batch;
}

TEST_P(StoreTest, AnyTextIsKept) {
  const auto store = Open();
  const std::vector<std::string> texts = {"", "'); DROP TABLE jobs; --", "tab\tnewline\n", "back\\slash \\u0000 :p0 $1 ?",
                                          "\xC2\x80 \xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xF0\x9F\x98\x80 \xF4\x8F\xBF\xBF"};
  ASSERT_TRUE(store->Commit(LogOf(texts)).ok());
  EXPECT_EQ(Lines(*store, 0, 0), texts);
}

// Programs print what they like: a commit must not fail for it.
TEST_P(StoreTest, BytesThatAreNoTextCostNoCommit) {
  const auto store = Open();
  const std::vector<std::string> texts = {std::string("a\0b", 3), "\xFF", "cut \xE2\x82", "long \xC0\x80", "half \xED\xA0\x80",
                                          "big \xF4\x90\x80\x80"};
  const std::string r = "\xEF\xBF\xBD";
  const std::vector<std::string> replaced = {"a" + r + "b",         r, "cut " + r + r, "long " + r + r, "half " + r + r + r,
                                             "big " + r + r + r + r};
  StoreBatch batch = LogOf(texts);
  const std::string nul("\0", 1);
  batch.jobs = {{"j", "r" + nul, "{\"message\": \"\\u0000 \\\\u0000\"}"}};
  batch.points = {{"j", "loss" + nul, {1, 1, 1, 1, 1}}, {"j", "\xFF", {1, 1, 1, 1, 1}}};
  ASSERT_TRUE(store->Commit(batch).ok());
  EXPECT_EQ(Lines(*store, 0, 0), is_postgresql() ? replaced : texts);
  EXPECT_THAT(ReadSeries(*store, "j", "loss" + nul), SizeIs(1));
  EXPECT_THAT(ReadSeries(*store, "j", "\xFF"), SizeIs(1));
  EXPECT_EQ(store->LoadJobs()->at(0).json, is_postgresql() ? "{\"message\": \"\\ufffd \\\\u0000\"}" : batch.jobs[0].json);
  EXPECT_TRUE(store->Commit(batch).ok());
}

// More than one statement's worth, with every row twice; the last one counts.
TEST_P(StoreTest, ALargeBatchMayRepeatItself) {
  const auto store = Open();
  StoreBatch batch = {.jobs = {{"j", "r", "{}"}, {"j", "r", "{\"n\": 2}"}}};
  for (const double value : {1.0, 2.0}) {
    for (uint64_t step = 0; step < 3000; ++step) {
      batch.points.push_back({"j", step % 2 == 0 ? "loss" : "grad_norm", {1, step, step, 1, value}});
      batch.logs.push_back({"j", 1, 0, step, 0, absl::StrCat(value)});
    }
  }
  ASSERT_TRUE(store->Commit(batch).ok());
  EXPECT_THAT(Jobs(*store), ElementsAre("j r {\"n\": 2}"));
  const auto series = store->ReadPoints("j", {});
  ASSERT_EQ(series->size(), 2u);
  for (const auto& [name, points] : *series) {
    ASSERT_THAT(points, SizeIs(1500));
    for (size_t i = 0; i < points.size(); ++i) {
      EXPECT_EQ(points[i].step, 2 * i + (name == "loss" ? 0 : 1));
      EXPECT_EQ(points[i].value, 2);
    }
  }
  EXPECT_EQ(Lines(*store, 0, 0), std::vector<std::string>(3000, "1"));
}

TEST_P(StoreTest, OnlyTheNamesThatAreAskedForComeBack) {
  const auto store = Open();
  ASSERT_TRUE(
      store->Commit({.points = {{"j", "a", {1, 1, 1, 1, 1}}, {"j", "b", {1, 1, 1, 1, 2}}, {"j", "c", {1, 1, 1, 1, 3}}}}).ok());
  const auto series = store->ReadPoints("j", {"c", "a", "never"});
  ASSERT_EQ(series->size(), 2u);
  EXPECT_EQ(series->at("a")[0].value, 1);
  EXPECT_EQ(series->at("c")[0].value, 3);
  EXPECT_TRUE(store->ReadPoints("j", {"never"})->empty());
}

TEST_P(StoreTest, NumbersAreNotRounded) {
  const auto store = Open();
  const std::vector<double> values = {0.1,
                                      1.0 / 3,
                                      2.718281828459045,
                                      5e-324,
                                      std::numeric_limits<double>::max(),
                                      std::numeric_limits<double>::infinity(),
                                      -std::numeric_limits<double>::infinity(),
                                      std::numeric_limits<double>::quiet_NaN()};
  StoreBatch batch;
  for (size_t i = 0; i < values.size(); ++i) {
    batch.points.push_back({"j", "loss", {1, (uint64_t{1} << 62) + i, uint64_t{1} << 62, int64_t{1} << 62, values[i]}});
  }
  ASSERT_TRUE(store->Commit(batch).ok());
  const std::vector<Point> points = ReadSeries(*store, "j", "loss");
  ASSERT_THAT(points, SizeIs(values.size()));
  for (size_t i = 0; i < values.size(); ++i) EXPECT_TRUE(SamePoint(points[i], batch.points[i].point)) << values[i];
}

TEST_P(StoreTest, AnySeriesComesBackInOrder) {
  const auto store = Open();
  int job = 0;
  const bool holds = rc::check([&] {
    const std::string id = absl::StrCat("job", ++job);
    std::map<std::pair<uint32_t, uint64_t>, Point> expected;
    StoreBatch batch;
    const int count = *rc::gen::inRange(0, 30);
    for (int i = 0; i < count; ++i) {
      const Point point = {*rc::gen::inRange<uint32_t>(1, 4), *rc::gen::inRange<uint64_t>(0, 20),
                           *rc::gen::inRange<uint64_t>(0, 1u << 30), *rc::gen::inRange<int64_t>(0, 1 << 30),
                           *rc::gen::arbitrary<double>()};
      expected[{point.attempt, point.step}] = point;
      batch.points.push_back({id, "loss", point});
    }
    RC_ASSERT(store->Commit(batch).ok());
    const std::vector<Point> points = ReadSeries(*store, id, "loss");
    RC_ASSERT(std::equal(points.begin(), points.end(), expected.begin(), expected.end(),
                         [](const Point& point, const auto& entry) { return SamePoint(point, entry.second); }));
  });
  EXPECT_TRUE(holds);
}

TEST_P(StoreTest, ABatchIsKeptWholeOrNotAtAll) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit({.jobs = {{"j-1", "r1", "{}"}}, .points = {{"j-1", "loss", {1, 1, 1, 1, 1}}}}).ok());
    // The second job has a request id that is taken.
    const absl::Status failed = store->Commit({.jobs = {{"j-2", "r2", "{}"}, {"j-3", "r1", "{}"}},
                                               .points = {{"j-1", "loss", {1, 2, 2, 2, 2}}},
                                               .logs = {{"j-1", 1, 0, 1, 1, "line"}}});
    EXPECT_FALSE(failed.ok());
    EXPECT_THAT(std::string(failed.message()), HasSubstr("cannot commit"));
  }
  const auto store = Open();
  EXPECT_THAT(Jobs(*store), ElementsAre("j-1 r1 {}"));
  EXPECT_THAT(ReadSeries(*store, "j-1", "loss"), SizeIs(1));
  EXPECT_TRUE(store->ReadLogs("j-1", 0, 0)->empty());
}

TEST_P(StoreTest, OneProcessAtATime) {
  auto store = Open();
  const auto second = OpenStore(url());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(url().substr(is_postgresql() ? 0 : 7)), HasSubstr("another polymoe-server")));

  const pid_t child = fork();
  if (child == 0) _exit(OpenStore(url()).status().code() == absl::StatusCode::kFailedPrecondition ? 0 : 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);

  store.reset();
  EXPECT_NE(Open(), nullptr);
}

TEST_P(StoreTest, ANewerDatabaseIsRefusedAndKept) {
  Open();
  if (is_postgresql()) {
    postgres().Query(url(), "UPDATE schema_version SET version = 99");
  } else {
    soci::session(soci::sqlite3, "db=\"" + path() + "\"") << "UPDATE schema_version SET version = 99";
  }
  for (int again = 0; again < 2; ++again) {
    const auto store = OpenStore(url());
    EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(store.status().message()), AllOf(HasSubstr("schema version 99"), HasSubstr("newer polymoe-server")));
  }
}

class SqliteTest : public ::testing::Test {
 protected:
  std::string path() const { return dir_.path() + "/polymoe.db"; }
  std::string url() const { return "sqlite:" + path(); }

  TempDir dir_;
};

// Made by the statements of the version that is in the field.
constexpr char kFirstVersion[] = R"(
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE jobs (id TEXT PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, json TEXT NOT NULL);
CREATE TABLE metric_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE points (job TEXT NOT NULL, name INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL,
                     tokens INTEGER NOT NULL, time_ms INTEGER NOT NULL, value REAL,
                     PRIMARY KEY (job, name, attempt, step)) WITHOUT ROWID;
CREATE TABLE logs (job TEXT NOT NULL, rank INTEGER NOT NULL, attempt INTEGER NOT NULL, number INTEGER NOT NULL,
                   time_ms INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (job, rank, attempt, number)) WITHOUT ROWID;
INSERT INTO schema_version VALUES (1);
INSERT INTO jobs VALUES ('j', 'r', '{}');
INSERT INTO metric_names VALUES (1, 'loss');
INSERT INTO points VALUES ('j', 1, 1, 1, 10, 5, 2.5);
INSERT INTO logs VALUES ('j', 0, 1, 1, 5, 'hello'))";

TEST_F(SqliteTest, TheFirstVersionIsMigrated) {
  {
    soci::session old(soci::sqlite3, "db=\"" + path() + "\"");
    for (const absl::string_view statement : absl::StrSplit(kFirstVersion, ';')) old << statement;
  }
  for (uint64_t step = 2; step < 4; ++step) {
    const auto store = OpenStore(url());
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_THAT(Jobs(**store), ElementsAre("j r {}"));
    EXPECT_THAT(Lines(**store, 0, 0), ElementsAre("hello"));
    ASSERT_TRUE((*store)->Commit({.ablations = {{"a", "ra", "{}"}}, .points = {{"j", "loss", {1, step, 20, 6, 2}}}}).ok());
    EXPECT_THAT(ReadSeries(**store, "j", "loss"), SizeIs(step));
    EXPECT_THAT(*(*store)->LoadAblations(), SizeIs(1));
  }
}

TEST_F(SqliteTest, AFileThatIsNoStoreIsRefusedAndKept) {
  const std::string text = "dear diary, " + std::string(4096, 'x');
  std::ofstream(path()) << text;
  const auto store = OpenStore(url());
  EXPECT_FALSE(store.ok());
  EXPECT_THAT(std::string(store.status().message()), AllOf(HasSubstr(path()), HasSubstr("not a database")));
  std::ifstream file(path());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
}

TEST_F(SqliteTest, AFolderThatIsNotThereIsNamed) {
  const auto store = OpenStore("sqlite:" + dir_.path() + "/missing/polymoe.db");
  EXPECT_FALSE(store.ok());
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("/missing/polymoe.db"));
}

TEST_F(SqliteTest, APathMayHaveSpaces) {
  EXPECT_TRUE(OpenStore("sqlite:" + dir_.path() + "/my store.db").ok());
}

TEST(OpenStoreTest, OtherDatabasesAreNotKnown) {
  for (const std::string url : {"", "sqlite:", "polymoe.db", "mysql://host/db", "postgresql:"}) {
    const auto store = OpenStore(url);
    EXPECT_EQ(store.status().code(), absl::StatusCode::kInvalidArgument) << url;
    EXPECT_THAT(std::string(store.status().message()), AllOf(HasSubstr("sqlite:PATH"), HasSubstr("postgresql://"))) << url;
  }
}

TEST(OpenStoreTest, APasswordIsNotShown) {
  EXPECT_EQ(StoreForLog("postgresql://me:se:cret@host:5432/db?sslmode=require"),
            "postgresql://me:***@host:5432/db?sslmode=require");
  EXPECT_EQ(StoreForLog("postgresql://host:5432/db?user=me&password=secret&sslmode=require"),
            "postgresql://host:5432/db?user=me&password=***&sslmode=require");
  EXPECT_EQ(StoreForLog("postgresql://me@host:5432/db"), "postgresql://me@host:5432/db");
  EXPECT_EQ(StoreForLog("sqlite:a:b@c.db"), "sqlite:a:b@c.db");
  const auto store = OpenStore("postgresql://me:secret@/db?host=/no/such/folder");
  EXPECT_EQ(store.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(store.status().message()), AllOf(HasSubstr("/no/such/folder"), Not(HasSubstr("secret"))));
}

}  // namespace
}  // namespace polymoe
