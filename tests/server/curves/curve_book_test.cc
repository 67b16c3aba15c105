#include "server/curves/curve_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/job.pb.h"

#include "server/store/store.h"
#include "tests/server/fake_store.h"

namespace polymoe {
namespace {

using ::testing::IsNan;
using ::testing::SizeIs;

// Counts who asks for points.
class CountedStore final : public Store {
 public:
  absl::Status Commit(const StoreBatch& batch) override { return store_.Commit(batch); }
  absl::StatusOr<std::vector<JobRow>> LoadJobs() override { return store_.LoadJobs(); }
  absl::StatusOr<std::vector<AblationRow>> LoadAblations() override { return store_.LoadAblations(); }
  absl::StatusOr<std::map<std::string, std::vector<Point>>> ReadPoints(const std::string& job,
                                                                       const std::vector<std::string>& names) override {
    ++reads;
    return store_.ReadPoints(job, names);
  }
  absl::StatusOr<std::vector<LogRow>> ReadLogs(const std::string& job, uint32_t attempt, uint32_t rank) override {
    return store_.ReadLogs(job, attempt, rank);
  }

  int reads = 0;

 private:
  FakeStore store_;
};

// A job of 100 steps of one token: a step is a milestone.
class CurveBookTest : public ::testing::Test {
 protected:
  CurveBookTest() {
    job_.set_id("j");
    v1::JobSpec& spec = *job_.mutable_file()->mutable_spec();
    spec.mutable_train()->set_tokens(100);
    spec.mutable_train()->set_global_batch(1);
    spec.mutable_data()->set_sequence_length(1);
    spec.mutable_validation()->add_sets()->set_name("near");
    StartAttempt(0);
  }
  void StartAttempt(uint64_t step) {
    v1::Attempt& attempt = *job_.add_attempts();
    attempt.set_number(job_.attempts_size());
    attempt.set_start_step(step);
    attempt.add_started_ranks(0);
    job_.set_revision(job_.revision() + 1);
  }
  void Report(const std::string& name, uint64_t step, double value) {
    StoreBatch batch;
    const auto attempt = static_cast<uint32_t>(job_.attempts_size());
    batch.points = {{job_.id(), name, {.attempt = attempt, .step = step, .tokens = step, .time_ms = 0, .value = value}}};
    ASSERT_TRUE(store_.Commit(batch).ok());
    job_.mutable_progress()->set_tokens(step);
    job_.set_revision(job_.revision() + 1);
    if (name == "val_loss/near") (*job_.mutable_progress()->mutable_validation_loss())["near"] = value;
  }
  std::shared_ptr<const JobCurves> Get() { return *book_.Get(job_); }
  // The newest curves differ from those before.
  bool ReadsAgain() {
    const int before = store_.reads;
    Get();
    return store_.reads > before;
  }

  v1::Job job_;
  CountedStore store_;
  CurveBook book_{store_};
};

TEST_F(CurveBookTest, HasTheCurvesOfEveryMetric) {
  Report("loss", 1, 5);
  Report("tokens_per_second", 1, 10);
  Report("grad_norm", 1, 1);
  Report("loss", 2, 4);
  Report("tokens_per_second", 2, 20);
  Report("val_loss/near", 2, 3);
  Report("val_bpb/near", 2, 1);
  const auto curves = Get();
  EXPECT_THAT(curves->milestones, SizeIs(100));
  EXPECT_THAT(curves->curves, SizeIs(3));
  EXPECT_EQ(curves->curves.at("loss")[1], 4);
  EXPECT_EQ(curves->curves.at("val_loss/near")[1], 3);
  EXPECT_EQ(curves->curves.at("val_bpb/near")[1], 1);
  EXPECT_EQ(curves->tokens_per_second, 15);
}

TEST_F(CurveBookTest, OfAJobThatHasNotBegun) {
  job_.clear_attempts();
  EXPECT_THAT(Get()->curves, SizeIs(0));
  EXPECT_EQ(Get()->tokens_per_second, 0);
}

TEST_F(CurveBookTest, ReadsOnlyWhatIsNew) {
  Report("loss", 1, 5);
  EXPECT_TRUE(ReadsAgain());
  EXPECT_FALSE(ReadsAgain());
  Report("val_loss/near", 1, 3);
  EXPECT_TRUE(ReadsAgain()) << "a validation";
  EXPECT_FALSE(ReadsAgain());
  job_.set_finished_ms(1);
  EXPECT_TRUE(ReadsAgain()) << "the end";
  EXPECT_FALSE(ReadsAgain());
}

TEST_F(CurveBookTest, EveryMilestoneIsSeenAtItsStep) {
  for (uint64_t step = 1; step <= 100; ++step) {
    Report("loss", step, 5);
    EXPECT_EQ(Get()->curves.at("loss")[step - 1], 5) << step;
  }
}

TEST_F(CurveBookTest, StepsBetweenMilestonesAreNotRead) {
  job_.mutable_file()->mutable_spec()->mutable_train()->set_tokens(10'000);
  Report("loss", 99, 5);
  Get();
  Report("loss", 100, 5);
  EXPECT_TRUE(ReadsAgain());
  Report("loss", 199, 5);
  EXPECT_FALSE(ReadsAgain());
}

TEST_F(CurveBookTest, ALossThatIsNoNumberIsReadOnceToo) {
  Report("val_loss/near", 1, std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(ReadsAgain());
  EXPECT_FALSE(ReadsAgain());
}

TEST_F(CurveBookTest, WhatALaterAttemptSupersededDoesNotCount) {
  for (uint64_t step = 1; step <= 10; ++step) Report("loss", step, 1);
  EXPECT_EQ(Get()->curves.at("loss")[9], 1);
  StartAttempt(5);
  EXPECT_EQ(Get()->curves.at("loss")[4], 1);
  EXPECT_THAT(Get()->curves.at("loss")[5], IsNan()) << "from the moment that it trains";
  for (uint64_t step = 6; step <= 10; ++step) Report("loss", step, 2);
  EXPECT_EQ(Get()->curves.at("loss")[9], 2) << "where it was before, with another value";
}

TEST_F(CurveBookTest, DoesNotGrowWithoutBound) {
  Report("loss", 1, 5);
  Get();
  v1::Job other = job_;
  for (int i = 0; i < 5000; ++i) {
    other.set_id(absl::StrCat("other", i));
    ASSERT_TRUE(book_.Get(other).ok());
  }
  EXPECT_TRUE(ReadsAgain()) << "forgotten, and not wrong";
}

}  // namespace
}  // namespace polymoe
