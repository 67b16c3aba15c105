#include "server/curves/curve_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "polymoe/v1/job.pb.h"

#include "tests/server/fake_store.h"

namespace polymoe {
namespace {

// Says how often it was read.
class CountingStore final : public Store {
 public:
  absl::Status Commit(const StoreBatch& batch) override { return kept_.Commit(batch); }
  absl::StatusOr<std::vector<JobRow>> LoadJobs() override { return kept_.LoadJobs(); }
  absl::StatusOr<std::vector<AblationRow>> LoadAblations() override { return kept_.LoadAblations(); }
  absl::StatusOr<std::map<std::string, std::vector<Point>>> ReadPoints(const std::string& job,
                                                                       const std::vector<std::string>& names) override {
    ++reads;
    return kept_.ReadPoints(job, names);
  }
  absl::StatusOr<std::vector<LogRow>> ReadLogs(const std::string& job, uint32_t attempt, uint32_t rank) override {
    return kept_.ReadLogs(job, attempt, rank);
  }

  int reads = 0;

 private:
  FakeStore kept_;
};

class CurveBookTest : public ::testing::Test {
 protected:
  CurveBookTest() {
    job_.set_id("j");
    v1::JobSpec& spec = *job_.mutable_file()->mutable_spec();
    spec.mutable_data()->set_sequence_length(1);
    spec.mutable_train()->set_global_batch(1);
    spec.mutable_train()->set_tokens(1000);
    spec.mutable_validation()->add_sets()->set_name("a");
    StartAttempt(0);
  }

  void StartAttempt(uint64_t step) {
    v1::Attempt& attempt = *job_.add_attempts();
    attempt.set_number(job_.attempts_size());
    attempt.set_start_step(step);
    attempt.add_started_ranks(0);
  }

  // One token a step.
  void Step(uint64_t step, double loss) {
    const auto attempt = static_cast<uint32_t>(job_.attempts_size());
    ASSERT_TRUE(store_.Commit({.points = {{"j", "loss", {attempt, step, step, 0, loss}}}}).ok());
    job_.mutable_progress()->set_tokens(step);
    job_.set_revision(job_.revision() + 1);
  }

  void Validate(uint64_t step, double loss) {
    const auto attempt = static_cast<uint32_t>(job_.attempts_size());
    ASSERT_TRUE(store_.Commit({.points = {{"j", "val_loss/a", {attempt, step, step, 0, loss}}}}).ok());
    (*job_.mutable_progress()->mutable_validation_loss())["a"] = loss;
  }

  std::vector<double> Curve(const std::string& metric) { return (*book_.Get(job_))->curves.at(metric); }

  CountingStore store_;
  CurveBook book_{store_};
  v1::Job job_;
};

TEST_F(CurveBookTest, ReadsTheStoreOnlyForWhatIsNew) {
  for (uint64_t step = 1; step <= 10; ++step) Step(step, 5);
  EXPECT_EQ(Curve("loss")[0], 5);
  Step(11, 5);
  EXPECT_EQ(Curve("loss")[0], 5);
  EXPECT_EQ(store_.reads, 1) << "the second milestone is not reached";
  Validate(11, 4);
  EXPECT_EQ(Curve("val_loss/a")[1], 4);
  EXPECT_EQ(store_.reads, 2);
  for (uint64_t step = 12; step <= 20; ++step) Step(step, 7);
  EXPECT_DOUBLE_EQ(Curve("loss")[1], 6.8);
  EXPECT_EQ(store_.reads, 3);
}

TEST_F(CurveBookTest, WhatALaterAttemptSupersededIsGone) {
  for (uint64_t step = 1; step <= 20; ++step) Step(step, 5);
  EXPECT_EQ(Curve("loss")[1], 5);
  StartAttempt(10);
  EXPECT_TRUE(std::isnan(Curve("loss")[1])) << "steps 11 to 20 do not count any more, and are not made again yet";
  for (uint64_t step = 11; step <= 20; ++step) Step(step, 3);
  EXPECT_EQ(Curve("loss")[0], 5);
  EXPECT_EQ(Curve("loss")[1], 3);
}

TEST_F(CurveBookTest, ThroughputIsTheMeanOfAllSteps) {
  ASSERT_TRUE(
      store_.Commit({.points = {{"j", "tokens_per_second", {1, 1, 1, 0, 10}}, {"j", "tokens_per_second", {1, 2, 2, 0, 30}}}}).ok());
  EXPECT_EQ((*book_.Get(job_))->tokens_per_second, 20);
}

}  // namespace
}  // namespace polymoe
