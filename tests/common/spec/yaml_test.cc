#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>

#include "polymoe/v1/job_spec.pb.h"

#include "common/spec/job_file.h"
#include "common/spec/yaml_read.h"
#include "common/spec/yaml_write.h"
#include "tests/common/spec/job_text.h"

namespace polymoe {
namespace {

using google::protobuf::util::MessageDifferencer;

v1::JobFile MustRead(const std::string& text) {
  v1::JobFile file;
  SourceMap places;
  const absl::Status status = YamlToMessage(text, "test.yaml", &file, &places);
  EXPECT_TRUE(status.ok()) << status << "\n" << text;
  return file;
}

TEST(Yaml, RoundTripsACompleteFile) {
  const v1::JobFile file = *ParseJobFile(kJobText, "job.yaml");
  EXPECT_TRUE(MessageDifferencer::Equals(file, MustRead(MessageToYaml(file)))) << MessageToYaml(file);
}

TEST(Yaml, SwitchesAreWrittenAsTrueAndFalse) {
  v1::JobFile file = *ParseJobFile(kJobText, "job.yaml");
  file.mutable_spec()->mutable_train()->set_precision(v1::PRECISION_BF16);
  for (const bool recompute : {true, false}) {
    file.mutable_spec()->mutable_train()->set_recompute(recompute);
    const std::string text = MessageToYaml(file);
    EXPECT_THAT(text, ::testing::HasSubstr(recompute ? "precision: bf16\n    recompute: true\n" : "recompute: false\n"));
    EXPECT_TRUE(MessageDifferencer::Equals(file, MustRead(text))) << text;
  }
}

TEST(Yaml, RoundTripsAnyTextAndNumber) {
  const bool holds = rc::check([](const std::string& raw, double number, uint64_t count) {
    v1::JobFile file;
    std::string text;  // YAML has no NUL and no invalid UTF-8; everything else must survive, quotes and colons too
    for (const char c : raw) text += static_cast<char>(' ' + (static_cast<unsigned char>(c) % 95));
    file.mutable_metadata()->set_name("x" + text);
    (*file.mutable_metadata()->mutable_labels())["k: " + text] = text;
    file.mutable_spec()->mutable_train()->set_learning_rate(number);
    file.mutable_spec()->mutable_train()->set_seed(count);
    RC_ASSERT(MessageDifferencer::Equals(file, MustRead(MessageToYaml(file))));
  });
  EXPECT_TRUE(holds);
}

void ExpectReadOrRefused(const std::string& junk) {
  v1::JobFile file;
  SourceMap places;
  const absl::Status status = YamlToMessage(junk, "junk.yaml", &file, &places);
  RC_ASSERT(status.ok() || !status.message().empty());
}

TEST(Yaml, GarbageIsAnErrorNeverACrash) {
  EXPECT_TRUE(rc::check("any bytes", [](const std::string& junk) { ExpectReadOrRefused(junk); }));
  EXPECT_TRUE(rc::check("YAML's own signs", [] {
    const std::string signs = "[]{}:,-?&*!|>'\"%@`#~ \n\ta0";
    ExpectReadOrRefused(*rc::gen::container<std::string>(rc::gen::elementOf(signs)));
  }));
}

// yaml-cpp reads each of these as documents without end when it is asked for all of them.
TEST(Yaml, StrayBracketsEnd) {
  for (const char* text : {"]", "}", "a: 1\n]", "{a: 1}}", "[a]]", "- a\n}"}) {
    v1::JobFile file;
    SourceMap places;
    EXPECT_EQ(YamlToMessage(text, "stray.yaml", &file, &places).code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace polymoe
