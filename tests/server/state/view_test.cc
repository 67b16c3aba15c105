// A job is found by its id, or by its name: then the newest of that name is meant.
#include "server/state/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace polymoe {
namespace {

using ::testing::HasSubstr;

void Add(View& view, const std::string& id, const std::string& name, int64_t created_ms) {
  v1::Job job;
  job.set_id(id);
  job.mutable_file()->mutable_metadata()->set_name(name);
  job.set_created_ms(created_ms);
  view.jobs[id] = std::make_shared<v1::Job>(std::move(job));
}

TEST(ViewTest, ANameMeansItsNewestJob) {
  View view;
  Add(view, "j-aaa", "j", 1);
  Add(view, "j-mmm", "j", 3);  // neither first nor last by id
  Add(view, "j-zzz", "j", 2);
  Add(view, "k-bbb", "k", 4);
  EXPECT_EQ((*view.Find("j"))->id(), "j-mmm");
  EXPECT_EQ((*view.Find("j-zzz"))->id(), "j-zzz");
}

TEST(ViewTest, AnIdGoesBeforeAName) {
  View view;
  Add(view, "j-aaa", "j", 1);
  Add(view, "x-bbb", "j-aaa", 2);
  EXPECT_EQ((*view.Find("j-aaa"))->id(), "j-aaa");
}

TEST(ViewTest, WhatIsNotThereIsNamed) {
  const absl::Status status = View().Find("k").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'k'"));
}

}  // namespace
}  // namespace polymoe
