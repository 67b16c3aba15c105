// The store keeps what it was given, whole batches or nothing, for one process at a time.
#include "server/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "absl/strings/str_cat.h"

#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class StoreTest : public ::testing::Test {
 protected:
  std::string path() const { return dir_.path() + "/polymoe.db"; }
  std::string url() const { return "sqlite:" + path(); }

  std::unique_ptr<Store> Open() {
    absl::StatusOr<std::unique_ptr<Store>> store = OpenStore(url());
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

  TempDir dir_;
};

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

TEST_F(StoreTest, ANewStoreIsEmpty) {
  const auto store = Open();
  EXPECT_THAT(Jobs(*store), IsEmpty());
  EXPECT_TRUE(store->ReadPoints("j", {})->empty());
  EXPECT_TRUE(store->ReadLogs("j", 0, 0)->empty());
}

TEST_F(StoreTest, JobsComeBackAsTheyWereLastCommitted) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit({.jobs = {{"j-1", "r1", "{}"}, {"j-2", "r2", "it's \"quoted\"\n\xC3\xA4"}}}).ok());
  ASSERT_TRUE(store->Commit({.jobs = {{"j-1", "r1", "{\"state\": 2}"}}}).ok());
  EXPECT_THAT(Jobs(*store), UnorderedElementsAre("j-1 r1 {\"state\": 2}", "j-2 r2 it's \"quoted\"\n\xC3\xA4"));
}

TEST_F(StoreTest, ALargeJobIsKeptWhole) {
  const auto store = Open();
  const std::string json(3 << 20, 'x');
  ASSERT_TRUE(store->Commit({.jobs = {{"j", "r", json}}}).ok());
  EXPECT_EQ(store->LoadJobs()->at(0).json, json);
}

TEST_F(StoreTest, EverythingIsThereAfterReopening) {
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

TEST_F(StoreTest, APointAgainReplaces) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit({.points = {{"j", "loss", {1, 5, 50, 9, 3.0}}}}).ok());
  ASSERT_TRUE(store->Commit({.points = {{"j", "loss", {1, 5, 51, 10, 2.0}}, {"j", "loss", {2, 5, 50, 11, 1.0}}}}).ok());
  const std::vector<Point> points = ReadSeries(*store, "j", "loss");
  ASSERT_THAT(points, SizeIs(2));
  EXPECT_TRUE(SamePoint(points[0], {1, 5, 51, 10, 2.0}));
  EXPECT_TRUE(SamePoint(points[1], {2, 5, 50, 11, 1.0}));
}

TEST_F(StoreTest, ALogLineAgainChangesNothing) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit({.logs = {{"j", 1, 0, 1, 5, "first"}}}).ok());
  ASSERT_TRUE(store->Commit({.logs = {{"j", 1, 0, 1, 6, "again"}, {"j", 1, 0, 2, 6, "second"}}}).ok());
  const auto lines = store->ReadLogs("j", 0, 0);
  ASSERT_THAT(*lines, SizeIs(2));
  EXPECT_EQ(lines->at(0).text, "first");
  EXPECT_EQ(lines->at(0).time_ms, 5);
}

TEST_F(StoreTest, LogsAreReadByRankAndAttemptInOrder) {
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

TEST_F(StoreTest, AnyTextIsKept) {
  const auto store = Open();
  const std::vector<std::string> texts = {"", "'); DROP TABLE jobs; --", "tab\tnewline\n", std::string("a\0b", 3),
                                          "\xF0\x9F\x98\x80"};
  StoreBatch batch;
  for (size_t i = 0; i < texts.size(); ++i) batch.logs.push_back({"j", 1, 0, i, 0, texts[i]});
  ASSERT_TRUE(store->Commit(batch).ok());
  EXPECT_EQ(Lines(*store, 0, 0), texts);
}

TEST_F(StoreTest, NumbersAreNotRounded) {
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

TEST_F(StoreTest, AnySeriesComesBackInOrder) {
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

TEST_F(StoreTest, ABatchIsKeptWholeOrNotAtAll) {
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

TEST_F(StoreTest, OneProcessAtATime) {
  auto store = Open();
  const auto second = OpenStore(url());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), AllOf(HasSubstr(path()), HasSubstr("another polymoe-server")));

  const pid_t child = fork();
  if (child == 0) _exit(OpenStore(url()).status().code() == absl::StatusCode::kFailedPrecondition ? 0 : 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);

  store.reset();
  EXPECT_NE(Open(), nullptr);
}

TEST_F(StoreTest, AFileThatIsNoStoreIsRefusedAndKept) {
  const std::string text = "dear diary, " + std::string(4096, 'x');
  std::ofstream(path()) << text;
  const auto store = OpenStore(url());
  EXPECT_FALSE(store.ok());
  EXPECT_THAT(std::string(store.status().message()), AllOf(HasSubstr(path()), HasSubstr("not a database")));
  std::ifstream file(path());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
}

TEST_F(StoreTest, AFolderThatIsNotThereIsNamed) {
  const auto store = OpenStore("sqlite:" + dir_.path() + "/missing/polymoe.db");
  EXPECT_FALSE(store.ok());
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("/missing/polymoe.db"));
}

TEST_F(StoreTest, APathMayHaveSpaces) {
  EXPECT_TRUE(OpenStore("sqlite:" + dir_.path() + "/my store.db").ok());
}

TEST_F(StoreTest, OnlySqliteIsKnown) {
  for (const std::string url : {"", "sqlite:", "polymoe.db", "postgresql://host/db"}) {
    const auto store = OpenStore(url);
    EXPECT_EQ(store.status().code(), absl::StatusCode::kInvalidArgument) << url;
    EXPECT_THAT(std::string(store.status().message()), HasSubstr("sqlite:PATH")) << url;
  }
}

}  // namespace
}  // namespace polymoe
