#include "common/spec/spec_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/metric.pb.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;

TEST(DiffSpecs, DifferingFieldsInTheOrderOfTheSchema) {
  v1::JobSpec a;
  a.mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_POLYNORM);
  a.mutable_model()->mutable_activation()->set_order(3);
  a.mutable_train()->set_tokens(1000);
  v1::JobSpec b = a;
  EXPECT_TRUE(DiffSpecs({&a, &b}).empty());
  b.mutable_model()->mutable_activation()->set_kind(v1::ACTIVATION_KIND_RELU);
  b.mutable_model()->mutable_activation()->clear_order();
  b.mutable_model()->set_ffn(8);
  b.mutable_validation()->add_sets()->set_name("far");
  const auto differences = DiffSpecs({&a, &b, &a});
  ASSERT_EQ(differences.size(), 4u);
  EXPECT_EQ(differences[0].path(), "model.ffn");
  EXPECT_THAT(differences[0].values(), ElementsAre("", "8", "")) << "not set is empty";
  EXPECT_EQ(differences[1].path(), "model.activation.kind");
  EXPECT_THAT(differences[1].values(), ElementsAre("polynorm", "relu", "polynorm"));
  EXPECT_EQ(differences[2].path(), "model.activation.order");
  EXPECT_EQ(differences[3].path(), "validation.sets[0].name");
}

TEST(DiffSpecs, OfNoneOrOneIsNothing) {
  EXPECT_TRUE(DiffSpecs({}).empty());
  const v1::JobSpec spec;
  EXPECT_TRUE(DiffSpecs({&spec}).empty());
}

}  // namespace
}  // namespace polymoe
