// Against a real server: moto, which checks every signature. Skipped where it is not installed (tests/install-moto.sh).
#include "worker/checkpoint/s3_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "common/check.h"
#include "common/file.h"
#include "common/process.h"
#include "tests/fakes/program.h"
#include "tests/worker/checkpoint/fault_scenarios.h"
#include "tests/worker/checkpoint/faulty_storage.h"
#include "tests/worker/checkpoint/sample_state.h"
#include "tests/worker/checkpoint/storage_contract.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kSmallestPart = 5 << 20;  // that S3 takes

class S3StorageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = POLYMOE_SOURCE_DIR, python = folder + "/build/venv-moto/bin/python";
    if (!PathExists(python)) GTEST_SKIP() << "moto is not installed; tests/install-moto.sh does it";
    int ends[2];
    POLYMOE_CHECK(pipe(ends) == 0, "pipe");
    const auto pid =
        StartProcess({.argv = {python, folder + "/tests/worker/checkpoint/moto_server.py"}, .descriptors = {{ends[1], 1}}});
    close(ends[1]);
    ASSERT_TRUE(pid.ok()) << pid.status();
    server_ = *pid;
    std::string line;
    for (char c; read(ends[0], &c, 1) == 1 && c != '\n';) line += c;
    close(ends[0]);
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    ASSERT_EQ(words.size(), 3u) << line;
    config_ = {.endpoint = words[0], .region = "us-east-1", .access_key = words[1], .secret_key = words[2]};
    config_.first_delay = absl::Milliseconds(1);
    config_.part_bytes = kSmallestPart;
  }
  void TearDown() override {
    if (server_ == 0) return;
    kill(server_, SIGKILL);
    Reap(server_);
  }
  std::unique_ptr<Storage> Open(const std::string& root) { return OpenS3Storage(root, config_).value(); }

  S3Config config_;
  pid_t server_ = 0;
};

TEST_F(S3StorageTest, KeepsTheContract) {
  ExpectContract(*Open("s3://bucket/some where/x~1"));
  ExpectContract(*Open("s3://bucket"));
}

TEST_F(S3StorageTest, LargeObjectsGoInParts) {
  const auto storage = Open("s3://bucket/p");
  std::string large(2 * kSmallestPart + 12345, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7 + i / 251);
  const absl::string_view pieces[] = {absl::string_view(large).substr(0, 100), absl::string_view(large).substr(100)};
  const absl::Status put = storage->Put("large", pieces);
  ASSERT_TRUE(put.ok()) << put;
  EXPECT_TRUE(*storage->Get("large") == large);
  std::string middle(1000, '\0');
  ASSERT_TRUE(storage->Read("large", kSmallestPart - 500, absl::MakeSpan(middle.data(), middle.size())).ok());
  EXPECT_EQ(middle, large.substr(kSmallestPart - 500, 1000));
}

TEST_F(S3StorageTest, ListsMoreThanOneAnswerHolds) {
  const auto storage = Open("s3://bucket/many");
  for (int i = 0; i < 1005; ++i) ASSERT_TRUE(storage->Put(absl::StrCat("f/", i), {}).ok());
  EXPECT_EQ(storage->List("f")->size(), 1005u);
}

TEST_F(S3StorageTest, ErrorsSayWhereAndWhatToDo) {
  const absl::Status bucket = Open("s3://other/p")->Put("x", {"1"});
  EXPECT_EQ(bucket.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(bucket.message()), HasSubstr("cannot write s3://other/p/x"));
  EXPECT_THAT(std::string(bucket.message()), HasSubstr("create the bucket other"));
  EXPECT_EQ(Open("s3://other/p")->List("").status().code(), absl::StatusCode::kFailedPrecondition) << "not an empty folder";
  config_.secret_key += "x";
  const absl::Status key = Open("s3://bucket/p")->Get("x").status();
  EXPECT_EQ(key.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(key.message()), HasSubstr("cannot read s3://bucket/p/x: the server answers 403"));
  EXPECT_THAT(std::string(key.message()), HasSubstr("check AWS_ACCESS_KEY_ID"));
}

TEST_F(S3StorageTest, HoldsCheckpoints) {
  const auto storage = Open("s3://bucket/jobs/j");
  for (const uint64_t step : {1, 2, 3}) {
    SampleState values(static_cast<float>(step));
    const absl::Status saved = SaveShares(*storage, At(step), values, 3, 1, {.keep_last = 2});
    ASSERT_TRUE(saved.ok()) << saved;
  }
  EXPECT_THAT(Steps(*storage), ElementsAre(2, 3));
  EXPECT_THAT(*storage->List(""), ElementsAre("step-00000002/", "step-00000003/"));
  ExpectLoads(*storage, 3);

  // Set aside, it is none any more, but nothing is lost until its step is saved again.
  ASSERT_TRUE(SetAside(*storage, "step-00000003").ok());
  EXPECT_THAT(Steps(*storage), ElementsAre(2));
  EXPECT_THAT(*storage->List("step-00000003"), ElementsAre("SUPERSEDED", "attempt-1/"));
  SampleState values(3);
  ASSERT_TRUE(SaveShares(*storage, At(3), values, 1, 2, {.keep_last = 2}).ok());
  EXPECT_THAT(*storage->List("step-00000003"), ElementsAre("COMMITTED", "attempt-2/"));
  ExpectLoads(*storage, 3);
}

TEST_F(S3StorageTest, AnyRequestMayGoWrong) {
  int roots = 0;
  for (const Scenario& scenario : Scenarios()) {
    for (const Fault fault : {Fault::kRefused, Fault::kLost, Fault::kDead}) {
      bool struck = true;
      for (int at = 0; struck; at += 13) {  // one in thirteen, another start for each kind: file_fault_test has them all
        SCOPED_TRACE(absl::StrCat(scenario.name, ", fault ", static_cast<int>(fault), ", request ", at));
        const auto storage = Open(absl::StrCat("s3://bucket/", ++roots));
        ASSERT_NO_FATAL_FAILURE(Prepare(*storage, scenario));
        FaultyStorage faulty(*storage, fault, at + static_cast<int>(fault));
        const bool succeeded = scenario.faulted(faulty).ok();
        struck = faulty.struck();
        ASSERT_NO_FATAL_FAILURE(ExpectSound(*storage, succeeded));
        if (HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace polymoe
