#include "common/spec/job_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_replace.h"

#include "polymoe/v1/job_spec.pb.h"

#include "tests/common/spec/job_text.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The error of kJobText with `from` replaced by `to`, which must occur.
std::string ErrorOf(const std::string& from, const std::string& to) {
  const std::string text = absl::StrReplaceAll(kJobText, {{from, to}});
  EXPECT_NE(text, kJobText) << "'" << from << "' does not occur";
  const auto job = ParseJobFile(text, "job.yaml");
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument) << job.status();
  return std::string(job.status().message());
}

TEST(JobFile, FillsDefaultsIn) {
  const auto job = ParseJobFile(kJobText, "job.yaml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->metadata().labels().at("study"), "demo");
  EXPECT_EQ(job->spec().train().tokens(), 1500000u);
  EXPECT_EQ(job->spec().model().architecture(), v1::ARCHITECTURE_MOE);
  EXPECT_EQ(job->spec().model().activation().order(), 3u);
  EXPECT_DOUBLE_EQ(job->spec().model().activation().epsilon(), 1e-6);
  EXPECT_DOUBLE_EQ(job->spec().train().learning_rate(), 1e-3);
  EXPECT_EQ(job->spec().train().precision(), v1::PRECISION_FP32);
  EXPECT_TRUE(job->spec().train().has_recompute());
  EXPECT_FALSE(job->spec().train().recompute());
  EXPECT_EQ(job->spec().checkpoint().keep_last(), 2u);  // a whole section that the file leaves out
  EXPECT_EQ(job->spec().validation().sets(0).split(), "heldout");
  EXPECT_EQ(job->spec().validation().sets(1).split(), "train");
}

TEST(JobFile, ReadsPrecisionAndRecompute) {
  const auto job = ParseJobFile(
      absl::StrReplaceAll(kJobText, {{"microBatch: 4", "microBatch: 4\n    precision: bf16\n    recompute: true"}}), "job.yaml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->spec().train().precision(), v1::PRECISION_BF16);
  EXPECT_TRUE(job->spec().train().recompute());
}

struct BadCase {
  const char* name;
  const char* from;
  const char* to;
  const char* error;
};

void PrintTo(const BadCase& c, std::ostream* os) {
  *os << c.to;
}

class BadJobFile : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadJobFile, NamesPlacePathAndRemedy) {
  EXPECT_EQ(ErrorOf(GetParam().from, GetParam().to), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Errors, BadJobFile,
    ::testing::Values(
        BadCase{"Typo", "microBatch: 4", "microbatsh: 4",
                "job.yaml:20:5: spec.train.microbatsh: unknown field; did you mean microBatch?"},
        BadCase{"Unknown", "heads: 4", "colour: 4",
                "job.yaml:10:5: spec.model.colour: unknown field; `polyctl explain` lists all fields"},
        BadCase{"WrongType", "layers: 2", "layers: two", "job.yaml:8:5: spec.model.layers: expected a whole number, found 'two'"},
        BadCase{"Negative", "layers: 2", "layers: -2", "job.yaml:8:5: spec.model.layers: expected a whole number, found '-2'"},
        BadCase{"Tokens", "1.5M", "1.5Mb",
                "job.yaml:18:5: spec.train.tokens: expected a token count such as 500k or 2M, found '1.5Mb'"},
        BadCase{"ListForMapping", "data: {train: /data/tiny}", "data: [1]",
                "job.yaml:16:3: spec.data: expected a mapping, found a list"},
        BadCase{"MappingForScalar", "layers: 2", "layers: {a: 1}",
                "job.yaml:8:5: spec.model.layers: expected a whole number, found a mapping"},
        BadCase{"NoValue", "layers: 2", "layers:", "job.yaml:8:5: spec.model.layers: has no value; expected a whole number"},
        BadCase{"Twice", "layers: 2", "layers: 2\n    layers: 3", "job.yaml:9:5: spec.model.layers: given twice"},
        BadCase{
            "Enum", "polynorm", "polynrom",
            "job.yaml:15:18: spec.model.activation.kind: expected one of relu, relu2, gelu, swiglu, polyrelu, polynorm, polyprelu, "
            "polyrelunorm, found 'polynrom'; did you mean polynorm?"},
        BadCase{"EnumWithDigits", "microBatch: 4", "precision: fp64",
                "job.yaml:20:5: spec.train.precision: expected one of fp32, bf16, found 'fp64'; did you mean fp32?"},
        BadCase{"Yes", "microBatch: 4", "recompute: yes",
                "job.yaml:20:5: spec.train.recompute: expected true or false, found 'yes'"},
        BadCase{"CapitalTrue", "microBatch: 4", "recompute: True",
                "job.yaml:20:5: spec.train.recompute: expected true or false, found 'True'"},
        BadCase{"One", "microBatch: 4", "recompute: 1", "job.yaml:20:5: spec.train.recompute: expected true or false, found '1'"},
        BadCase{"NoTruth", "microBatch: 4",
                "recompute:", "job.yaml:20:5: spec.train.recompute: has no value; expected true or false"},
        BadCase{"Missing", "    ffn: 48\n", "",
                "job.yaml:7:3: spec.model.ffn: is missing: hidden width of one FFN (of one expert), for an ungated activation when "
                "match "
                "is parameters"},
        BadCase{"Range", "{kind: polynorm}", "{kind: polynorm, order: 5}",
                "job.yaml:15:34: spec.model.activation.order: 5 is out of range; it must be 1 to 4"},
        BadCase{"Heads", "heads: 4", "heads: 5",
                "job.yaml:10:5: spec.model.heads: hidden 32 / heads 5 must be a whole, even number (the width of one head)"},
        BadCase{"TopK", "topK: 2", "topK: 9", "job.yaml:13:5: spec.model.topK: 9 is more than the 4 experts there are"},
        BadCase{"MicroBatch", "microBatch: 4", "microBatch: 3",
                "job.yaml:20:5: spec.train.microBatch: 3 does not divide the 8 sequences that a rank gets of each global batch"},
        BadCase{"SetTwice", "name: far", "name: near", "job.yaml:24:8: spec.validation.sets[1].name: 'near' names two sets"},
        BadCase{"Split", "split: train", "split: test",
                "job.yaml:24:36: spec.validation.sets[1].split: 'test' is not a split; write train or heldout"},
        BadCase{"Name", "name: tiny", "name: Tiny!",
                "job.yaml:4:3: metadata.name: 'Tiny!' is not a name: use lower-case letters, digits and inner '-', at most 63"},
        BadCase{"Kind", "kind: Job", "kind: Jobs", "job.yaml:2:1: kind: 'Jobs' is not known here; write Job"}),
    [](const auto& info) { return info.param.name; });

TEST(JobFile, BrokenYamlHasAPlace) {
  EXPECT_THAT(std::string(ParseJobFile("kind: [1\n", "job.yaml").status().message()), StartsWith("job.yaml:2:1: not valid YAML: "));
  EXPECT_THAT(std::string(ParseJobFile("", "job.yaml").status().message()), HasSubstr("is empty"));
  EXPECT_THAT(std::string(ParseJobFile("a: 1\n---\nb: 2\n", "job.yaml").status().message()),
              HasSubstr("job.yaml:2:1: a second YAML document begins here"));
}

TEST(JobFile, AMessageWithoutFileGivesThePathAlone) {
  v1::JobFile file = *ParseJobFile(kJobText, "job.yaml");
  file.mutable_spec()->mutable_model()->set_heads(7);
  EXPECT_THAT(std::string(CompleteJobFile(&file).message()), StartsWith("spec.model.heads: hidden 32"));
}

}  // namespace
}  // namespace polymoe
