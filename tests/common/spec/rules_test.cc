#include "common/spec/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job_spec.pb.h"

namespace polymoe {
namespace {

TEST(Rules, EveryFieldExplainsItselfAndEveryDefaultParses) {
  for (const auto* type : {v1::JobFile::descriptor(), v1::AblationFile::descriptor()}) {
    for (const FieldDoc& doc : DescribeFields(type)) {
      EXPECT_FALSE(doc.help.empty()) << doc.path << " has no help";
      EXPECT_FALSE(doc.type.empty()) << doc.path;
    }
  }
  v1::JobFile file;
  ApplyDefaults(&file);  // CHECKs that each default is a value of its field
  ApplyDefaults(file.mutable_spec());
  ApplyDefaults(file.mutable_spec()->mutable_model());
  ApplyDefaults(file.mutable_spec()->mutable_model()->mutable_activation());
  ApplyDefaults(file.mutable_spec()->mutable_train());
  EXPECT_EQ(file.spec().train().schedule(), v1::SCHEDULE_KIND_COSINE);
}

TEST(Rules, SwitchesAndNamesSayWhatTheyTake) {
  std::vector<std::string> lines;
  for (const FieldDoc& doc : DescribeFields(v1::TrainSpec::descriptor())) {
    if (doc.path == "precision" || doc.path == "recompute") lines.push_back(doc.path + ": " + doc.type + ", " + doc.default_value);
  }
  EXPECT_THAT(lines, ::testing::ElementsAre("precision: one of fp32, bf16, fp32", "recompute: true or false, false"));
}

TEST(Rules, DefaultsKeepWhatIsThere) {
  v1::TrainSpec train;
  train.set_recompute(true);
  train.set_weight_decay(0);  // a zero that was meant
  ApplyDefaults(&train);
  EXPECT_EQ(train.weight_decay(), 0);
  EXPECT_TRUE(train.recompute());
  EXPECT_EQ(train.beta1(), 0.9);
}

TEST(Rules, RequiredMessagesAreNotInvented) {
  v1::JobFile file;
  ApplyDefaults(&file);
  EXPECT_FALSE(file.has_spec());
  EXPECT_THAT(std::string(CheckRules(file, {}).message()), ::testing::HasSubstr("apiVersion: is missing"));
}

}  // namespace
}  // namespace polymoe
