// The screens of ablations at fixed widths, in colour, plain and ASCII: as they must look.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_split.h"

#include "common/file.h"
#include "polyctl/render/ablation.h"
#include "polyctl/render/ablation_comparison.h"
#include "polyctl/render/ablation_tables.h"
#include "polyctl/render/config_diff.h"
#include "tests/polyctl/sample_ablation.h"

namespace polymoe::polyctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kNowMs = 1'772'366'400'000;
const absl::Time kNow = absl::FromUnixMillis(kNowMs);

// Compares with golden/NAME; POLYMOE_RENEW_GOLDEN=1 writes it anew, to be looked at before it is committed.
void ExpectGolden(const std::string& name, const std::string& text) {
  const std::string path = absl::StrCat(POLYMOE_SOURCE_DIR "/tests/polyctl/golden/", name);
  if (getenv("POLYMOE_RENEW_GOLDEN") != nullptr) {
    ASSERT_TRUE(WriteFileDurably(path, text).ok());
    return;
  }
  const auto golden = ReadFile(path);
  ASSERT_TRUE(golden.ok()) << golden.status();
  EXPECT_EQ(text, *golden) << "if it should look so now: POLYMOE_RENEW_GOLDEN=1, and look at the difference";
}

void ExpectFits(const std::string& text, int width) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) EXPECT_LE(DisplayWidth(line), width) << line;
}

v1::AblationComparison Empty() {
  v1::AblationComparison comparison = SampleComparison();
  comparison.clear_curves();
  comparison.clear_runs();
  return comparison;
}

TEST(CompareScreen, At80Columns) {
  const std::string text = RenderAblationComparison(SampleComparison(), {}, false, {.width = 80});
  ExpectFits(text, 80);
  ExpectGolden("compare_80.txt", text);
}

TEST(CompareScreen, At120ColumnsInColour) {
  ExpectGolden("compare_120_colour.txt", RenderAblationComparison(SampleComparison(), {}, false, {.colour = true, .width = 120}));
}

TEST(CompareScreen, DeltaInAscii) {
  const std::string text = RenderAblationComparison(SampleComparison(), {"val_loss/wiki"}, true, {.utf8 = false, .width = 80});
  ExpectFits(text, 80);
  for (const char c : text) ASSERT_LT(static_cast<unsigned char>(c), 0x80) << text;
  ExpectGolden("compare_delta_80_ascii.txt", text);
}

TEST(CompareScreen, SaysWhenThereIsNothingYet) {
  const std::string text = RenderAblationComparison(Empty(), {}, false, {.width = 80});
  EXPECT_THAT(text, HasSubstr("no values yet"));
  EXPECT_THAT(text, HasSubstr("nothing to draw yet"));
}

TEST(Verdicts, ADifferenceInsideTheNoiseIsNeverSetOff) {
  v1::AblationComparison comparison = SampleComparison();
  for (v1::ArmCurve& curve : *comparison.mutable_curves()) {
    if (curve.verdict() != v1::VERDICT_BASELINE) curve.set_verdict(v1::VERDICT_NO_DIFFERENCE);
  }
  const std::string text = RenderAblationComparison(comparison, {}, false, {.colour = true, .width = 120});
  EXPECT_THAT(text, Not(HasSubstr("\033[1;32m")));
  EXPECT_THAT(text, Not(HasSubstr("\033[31m")));
  EXPECT_THAT(text, Not(HasSubstr("better")));
  for (const auto& row : VerdictTable(comparison, "val_loss").rows) {
    for (size_t i = 1; i < row.size(); ++i) EXPECT_EQ(row[i].style, Style::kPlain);
    EXPECT_EQ(row.back().text.find('*'), std::string::npos);
  }
  for (const auto& row : DomainTable(comparison).rows) {
    for (size_t i = 1; i < row.size(); ++i) EXPECT_EQ(row[i].style, Style::kPlain) << row[i].text;
  }
}

TEST(Verdicts, OneSeedHasNoInterval) {
  v1::AblationComparison comparison = SampleComparison();
  for (v1::ArmCurve& curve : *comparison.mutable_curves()) {
    for (v1::ArmPoint& point : *curve.mutable_points()) {
      point.set_n(1);
      point.set_pairs(1);
      point.set_low(0);
      point.set_high(0);
    }
    if (curve.verdict() != v1::VERDICT_BASELINE) curve.set_verdict(v1::VERDICT_TOO_FEW);
  }
  const std::string text = RenderTable(VerdictTable(comparison, "val_loss"), {});
  EXPECT_THAT(text, HasSubstr("too few seeds"));
  EXPECT_EQ(text.find("± 0"), std::string::npos) << text;
}

TEST(AblationScreens, Watch) {
  const std::string text =
      AblationScreen(SampleAblation(kNowMs, false), SampleAblationJobs(kNowMs, false), SampleComparison(), 24, {.width = 80});
  ExpectFits(text, 80);
  ExpectGolden("watch_80.txt", text);
  ExpectGolden("watch_120_ascii.txt", AblationScreen(SampleAblation(kNowMs, false), SampleAblationJobs(kNowMs, false),
                                                     SampleComparison(), 24, {.utf8 = false, .width = 120}));
  EXPECT_THAT(AblationScreen(SampleAblation(kNowMs, false), SampleAblationJobs(kNowMs, false), Empty(), 10, {.width = 80}),
              HasSubstr("and 3 more\n"));
}

TEST(AblationScreens, GetAndLs) {
  const std::string page = AblationPage(SampleAblation(kNowMs, false), SampleAblationJobs(kNowMs, false), kNow, {.width = 80});
  ExpectGolden("ablation_get_80.txt", page);
  EXPECT_THAT(AblationPage(SampleAblation(kNowMs, true), SampleAblationJobs(kNowMs, true), kNow, {.width = 80}),
              HasSubstr("Ended early\n  activations-polyrelu-s3-0a1b2c3d: val_loss is 0.31 above"));
  EXPECT_EQ(RenderTable(AblationsTable({SampleAblation(kNowMs, false), SampleAblation(kNowMs, true)}, kNow), {.width = 120}),
            "ID                    STATE      ARMS  SEEDS  RUNS ENDED  RUNNING     %    LEFT    AGE\n"
            "activations-4d5e6f7g  active        6      3        6/18        2   38%  30m50s  2h00m\n"
            "activations-4d5e6f7g  succeeded     6      3       18/18        0  100%       -  2h00m\n");
}

TEST(DryRun, ShowsWhatEachArmIs) {
  const v1::JobSpec base = SampleJob("a", v1::JOB_STATE_PENDING, kNowMs).file().spec();
  v1::JobSpec wide = base;
  wide.mutable_model()->set_ffn(128);
  v1::AblationFile file = SampleAblation(kNowMs, false).file();
  const std::string text = DryRunPage(file, {{"relu", base}, {"wide", wide}}, {.width = 80});
  ExpectGolden("dry_run_80.txt", text);
  EXPECT_THAT(text, HasSubstr("2 arms x 3 seeds = 6 runs of 4M tokens: 24M tokens"));
}

}  // namespace
}  // namespace polymoe::polyctl
