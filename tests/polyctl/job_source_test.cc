// The job file of a command: from a file or standard input, edited by --set, with the place of every mistake.
#include "polyctl/job_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/polyctl/sample_jobs.h"
#include "tests/polyctl/test_console.h"

namespace polymoe::polyctl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class JobSourceTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { ASSERT_TRUE(WriteFileDurably(path_, text).ok()); }
  absl::StatusOr<v1::JobFile> Read(const std::vector<std::string>& edits) { return ReadJobFile({path_, edits}, console_.console); }
  // The error of one --set on the sample.
  std::string EditError(const std::string& edit) {
    Write(kJobFile);
    return std::string(Read({edit}).status().message());
  }

  TempDir dir_;
  const std::string path_ = dir_.path() + "/job.yaml";
  TestConsole console_;
};

TEST_F(JobSourceTest, EditsOfEveryKind) {
  Write(absl::StrCat(kJobFile, "  validation: {everyTokens: 100k, sets: [{name: a, path: /a}, {name: b, path: /b}]}\n"));
  const auto file = Read({"spec.train.tokens=2.5M", "spec.model.activation.kind=swiglu", "metadata.labels.seed=2",
                          "metadata.labels.owner=a=b", "spec.validation.sets[1].path=/c", "spec.restart.backoffSeconds=0.5",
                          "spec.train.precision=bf16", "spec.train.recompute=true"});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->spec().train().tokens(), 2'500'000u);
  EXPECT_EQ(file->spec().model().activation().kind(), v1::ACTIVATION_KIND_SWIGLU);
  EXPECT_EQ(file->metadata().labels().at("seed"), "2");
  EXPECT_EQ(file->metadata().labels().at("owner"), "a=b");
  EXPECT_EQ(file->metadata().labels().at("study"), "activations");
  EXPECT_EQ(file->spec().validation().sets(0).path(), "/a");
  EXPECT_EQ(file->spec().validation().sets(1).path(), "/c");
  EXPECT_DOUBLE_EQ(file->spec().restart().backoff_seconds(), 0.5);
  EXPECT_EQ(file->spec().train().precision(), v1::PRECISION_BF16);
  EXPECT_TRUE(file->spec().train().recompute());
}

TEST_F(JobSourceTest, EditsThatAreWrongSayWhatWouldBeRight) {
  EXPECT_EQ(EditError("spec.train.tokens"), "--set spec.train.tokens: write PATH=VALUE, for example spec.train.tokens=1M");
  EXPECT_EQ(EditError("spec.trian.tokens=1"), "--set spec.trian.tokens=1: unknown field 'trian'; did you mean train?");
  EXPECT_THAT(EditError("spec.train.tokens=many"), HasSubstr("--set spec.train.tokens=many: "));
  EXPECT_THAT(EditError("spec.train=1"), HasSubstr("'train' has fields; write train.FIELD=VALUE"));
  EXPECT_THAT(EditError("spec.train.tokens.x=1"), HasSubstr("'tokens' is a single value and has no field 'x'"));
  EXPECT_THAT(EditError("metadata.labels=1"), HasSubstr("'labels' holds pairs; write labels.KEY=VALUE"));
  EXPECT_THAT(EditError("spec.validation.sets[0].path=/a"), HasSubstr("'sets' has 0 entries"));
  EXPECT_THAT(EditError("spec.train[0].tokens=1"), HasSubstr("'train' is no list"));
  EXPECT_THAT(EditError("spec.validation.sets[x].path=/a"), HasSubstr("'sets[x]' is not NAME[INDEX]"));
  EXPECT_THAT(EditError("=1"), HasSubstr("unknown field ''"));
}

TEST_F(JobSourceTest, AValueThatBreaksARuleNamesTheEdit) {
  EXPECT_THAT(EditError("spec.model.topK=9"),
              AllOf(HasSubstr("spec.model.topK: "), HasSubstr("(given by --set spec.model.topK=9)")));
}

TEST_F(JobSourceTest, MistakesInTheFileHaveTheirPlace) {
  Write(absl::StrReplaceAll(kJobFile, {{"topK", "topk"}}));
  EXPECT_EQ(std::string(Read({}).status().message()),
            absl::StrCat(path_, ":5:65: spec.model.topk: unknown field; did you mean topK?"));
  Write(absl::StrReplaceAll(kJobFile, {{"layers: 2", "layers: two"}}));
  EXPECT_THAT(std::string(Read({}).status().message()), HasSubstr(absl::StrCat(path_, ":5:11: spec.model.layers: ")));
}

TEST_F(JobSourceTest, StandardInput) {
  console_.in.str(kJobFile);
  EXPECT_EQ(console_.Run({"render", "-", "--set", "spec.train.seed=7"}), 0);
  EXPECT_THAT(console_.out.str(), AllOf(HasSubstr("seed: 7"), HasSubstr("weightDecay: 0.1")));
  const std::string rendered = console_.out.str();
  console_.in.clear();
  console_.in.str(rendered);
  EXPECT_EQ(console_.Run({"render", "-"}), 0);
  EXPECT_EQ(console_.out.str(), rendered) << "what render prints renders to itself";
  console_.in.clear();
  console_.in.str(absl::StrReplaceAll(kJobFile, {{"kind: Job", "kind: Jop"}}));
  EXPECT_EQ(console_.Run({"validate", "-", "--offline"}), 2);
  EXPECT_THAT(console_.err.str(), HasSubstr("polyctl: <stdin>:2:1: kind: "));
}

TEST_F(JobSourceTest, AFileThatIsNotThere) {
  EXPECT_EQ(console_.Run({"validate", dir_.path() + "/no.yaml"}), 3);
  EXPECT_THAT(console_.err.str(), HasSubstr("/no.yaml"));
  EXPECT_NE(console_.Run({"validate", dir_.path()}), 0) << "a folder";
}

TEST_F(JobSourceTest, Params) {
  Write(kJobFile);
  EXPECT_EQ(console_.Run({"params", path_}), 0);
  EXPECT_EQ(console_.out.str(),
            "GROUP          TOTAL  ACTIVE   SHARE\n"
            "embedding      16448   16448   10.0%\n"
            "attention      32768   32768   19.9%\n"
            "norms            576     576    0.3%\n"
            "router           512     512    0.3%\n"
            "experts        98304   49152   59.6%\n"
            "coefficients       8       8    0.0%\n"
            "head           16448   16448   10.0%\n"
            "all           165064  115912  100.0%\n"
            "\n"
            "activation       polynorm(3), FFN width 96\n"
            "FLOPs per token  621k (forward and backward)\n"
            "this job         1M tokens, 621B FLOP\n"
            "precision        fp32\n"
            "\n"
            "MEMORY WITH 1 THREAD        SIZE   SHARE\n"
            "weights                644.8 KiB    1.2%\n"
            "gradients              644.8 KiB    1.2%\n"
            "moments                  1.3 MiB    2.4%\n"
            "checkpoint copy          1.9 MiB    3.6%\n"
            "activations              2.0 MiB    3.9%\n"
            "scratch                  1.5 MiB    2.9%\n"
            "threads                  4.0 MiB    7.7%\n"
            "program                 40.0 MiB   77.0%\n"
            "peak memory of a rank   52.0 MiB  100.0%\n");
  EXPECT_EQ(console_.Run({"params", path_, "-o", "json"}), 0);
  const auto json = nlohmann::json::parse(console_.out.str());
  EXPECT_EQ(json.at("total"), 165064);
  EXPECT_EQ(json.at("memory").at("total"), 54490664);
  EXPECT_EQ(json.at("memory").at("threads"), 1);
  EXPECT_EQ(json.at("memory").at("rows").at("moments"), 1320512);
}

TEST_F(JobSourceTest, ParamsOfAJobThatSavesMemory) {
  Write(kJobFile);
  EXPECT_EQ(console_.Run({"params", path_, "--set", "spec.train.precision=bf16", "--set", "spec.train.recompute=true"}), 0);
  EXPECT_THAT(console_.out.str(),
              AllOf(HasSubstr("\nprecision        bf16, recompute\n"), HasSubstr("\nbf16 copy              322.4 KiB    0.6%\n"),
                    HasSubstr("\npeak memory of a rank   50.4 MiB  100.0%\n")));
}

}  // namespace
}  // namespace polymoe::polyctl
