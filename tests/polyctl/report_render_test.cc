// The report: well-formed, self-contained, escaped, and the same figures in every form.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/file.h"
#include "polyctl/render/csv.h"
#include "polyctl/render/markup.h"
#include "polyctl/render/report.h"
#include "tests/polyctl/sample_ablation.h"

namespace polymoe::polyctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kNowMs = 1'772'366'400'000;

Report SampleReport() {
  return {SampleAblation(kNowMs, true), SampleComparison(), absl::FromUnixMillis(kNowMs)};
}

// What is wrong with the nesting of the page's tags; empty when nothing is. The page closes every element itself, but void ones.
std::string NestingError(const std::string& html) {
  static const std::set<std::string> kVoid = {"meta", "link", "br", "!DOCTYPE"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return absl::StrCat("a tag that does not end: ", html.substr(at, 60));
    const std::string tag = html.substr(at + 1, end - at - 1);
    at = end + 1;
    const std::string name = tag.substr(tag[0] == '/', tag.find_first_of(" /\n", 1) - (tag[0] == '/'));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1))
        return absl::StrCat("</", tag.substr(1), "> closes ", open.empty() ? "nothing" : open.back());
      open.pop_back();
      continue;
    }
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return absl::StrCat("an attribute that does not end: ", tag);
    if (kVoid.contains(name) || tag.back() == '/') continue;
    open.push_back(name);
    if (name == "script" || name == "style") at = html.find(absl::StrCat("</", name), at);
  }
  return open.empty() ? "" : absl::StrCat("not closed: ", open.back());
}

TEST(HtmlReport, IsWellFormed) {
  const std::string html = HtmlReport(SampleReport());
  EXPECT_EQ(NestingError(html), "");
  EXPECT_THAT(html, StartsWith("<!DOCTYPE html>"));
  EXPECT_NE(NestingError(html + "<p>"), "") << "the check must see it";
  EXPECT_NE(NestingError("<p><b></p></b>"), "");
}

TEST(HtmlReport, RefersToNothingOutside) {
  const std::string html = HtmlReport(SampleReport());
  for (const char* outside : {"http", "//", "@import", "src=", "url(", "<link rel=\"stylesheet"}) {
    for (size_t at = html.find(outside); at != std::string::npos; at = html.find(outside, at + 1)) {
      const std::string around = html.substr(at, 60);
      // Base64 has slashes, and clip paths are in the page.
      if (absl::StartsWith(around, "url(#")) continue;
      if (absl::StartsWith(around, "//") && html.rfind("base64,", at) != std::string::npos &&
          html.find('"', html.rfind("base64,", at)) > at)
        continue;
      ADD_FAILURE() << around;
    }
  }
  const size_t script = html.find("<script>"), style = html.find("<style>");
  EXPECT_LT(html.find("</script>") - script + html.find("</style>") - style, 100'000u);
}

TEST(HtmlReport, HasTextForEyesThatDoNotSeeAndKeysForHandsWithoutAMouse) {
  const std::string html = HtmlReport(SampleReport());
  size_t pictures = 0, titles = 0;
  for (size_t at = html.find("<svg "); at != std::string::npos; at = html.find("<svg ", at + 1)) ++pictures;
  for (size_t at = html.find("<desc "); at != std::string::npos; at = html.find("<desc ", at + 1)) ++titles;
  EXPECT_EQ(pictures, 4u);
  EXPECT_EQ(titles, pictures);
  EXPECT_THAT(html, HasSubstr("role=\"img\" aria-labelledby=\"curve-t curve-d\""));
  EXPECT_THAT(html, HasSubstr("<button type=\"button\" aria-pressed=\"true\" data-series=\"0\" class=\"base\">"));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(html, HasSubstr("<html lang=\"en\">"));
}

TEST(HtmlReport, VerdictsComeFirstAndNoiseIsNoWin) {
  Report report = SampleReport();
  std::string html = HtmlReport(report);
  EXPECT_LT(html.find("Verdict at 4M tokens"), html.find("Convergence"));
  EXPECT_THAT(html, HasSubstr("class=\"good\">better"));
  for (v1::ArmCurve& curve : *report.comparison.mutable_curves()) {
    if (curve.verdict() != v1::VERDICT_BASELINE) curve.set_verdict(v1::VERDICT_NO_DIFFERENCE);
  }
  html = HtmlReport(report);
  EXPECT_THAT(html, Not(HasSubstr("good\">")));
  EXPECT_THAT(Conclusion(report), StartsWith("No difference to relu was seen: relu2, gelu, swiglu, polyrelu, polynorm."));
  EXPECT_EQ(Conclusion(report).find("etter"), std::string::npos);
}

TEST(HtmlReport, NamesCannotBreakOut) {
  Report report = SampleReport();
  const std::string evil = "</title><script>alert('x')</script>\"&";
  report.comparison.set_name(evil);
  report.comparison.mutable_arms(1)->set_name(evil);
  report.comparison.mutable_differences(0)->set_values(1, evil);
  for (v1::ArmCurve& curve : *report.comparison.mutable_curves()) {
    if (curve.arm() == "relu2") curve.set_arm(evil);
  }
  const std::string html = HtmlReport(report);
  EXPECT_EQ(html.find("<script>alert"), std::string::npos);
  EXPECT_EQ(NestingError(html), "");
  EXPECT_THAT(MarkdownReport(report), Not(HasSubstr("<script>")));
}

TEST(HtmlReport, OfNothingYet) {
  Report report = SampleReport();
  report.comparison.clear_curves();
  report.comparison.clear_runs();
  const std::string html = HtmlReport(report);
  EXPECT_EQ(NestingError(html), "");
  EXPECT_THAT(html, HasSubstr("There is nothing to compare yet."));
}

TEST(MarkdownReport, HasTheTables) {
  const std::string text = MarkdownReport(SampleReport());
  EXPECT_THAT(text, StartsWith("# activations\n\nBetter than relu: "));
  EXPECT_THAT(text,
              HasSubstr("| ARM | SEEDS | MEAN | SD | DIFFERENCE ± 95% | VERDICT |\n|---|---:|---:|---:|---:|---|\n| relu | 3 | "));
  EXPECT_THAT(text, HasSubstr("## Method"));
  EXPECT_EQ(MarkdownTable({{{"A|B"}}, {{{"x_y"}}}}), "| A\\|B |\n|---|\n| x\\_y |\n");
}

TEST(Csv, EveryPointOnce) {
  const v1::AblationComparison comparison = SampleComparison();
  const std::vector<std::string> lines = absl::StrSplit(PointsCsv(comparison), '\n', absl::SkipEmpty());
  EXPECT_EQ(lines[0], "run,arm,seed,metric,tokens,value");
  EXPECT_EQ(lines.size(), 1u + 5 * 6 * 3 * 40);
  EXPECT_EQ(lines[1],
            absl::StrCat("activations-relu-s1-0a1b2c3d,relu,1,val_loss,100000,", CsvNumber(comparison.runs(0).values(0))));
  const std::vector<std::string> summary = absl::StrSplit(SummaryCsv(comparison), '\n', absl::SkipEmpty());
  EXPECT_EQ(summary.size(), 1u + 5 * 6);
  EXPECT_EQ(CsvLine({"a,b", "say \"x\"", "", "plain"}), "\"a,b\",\"say \"\"x\"\"\",,plain\n");
  double back;
  ASSERT_TRUE(absl::SimpleAtod(CsvNumber(0.1 + 0.2), &back));
  EXPECT_EQ(back, 0.1 + 0.2);
}

// For tests/polyctl/report_screenshot.sh, which looks at it with a browser.
TEST(HtmlReport, IsWrittenForTheEye) {
  const char* path = getenv("POLYMOE_SAMPLE_REPORT");
  if (path == nullptr) GTEST_SKIP() << "POLYMOE_SAMPLE_REPORT is not set";
  ASSERT_TRUE(WriteFileDurably(path, HtmlReport(SampleReport())).ok());
}

}  // namespace
}  // namespace polymoe::polyctl
