// Text, tables, plots and figures: aligned on every terminal, nothing of a job's text moves the cursor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"

#include "common/spec/names.h"
#include "polyctl/render/format.h"
#include "polyctl/render/plot.h"
#include "polyctl/render/table.h"
#include "polyctl/render/text.h"

namespace polymoe::polyctl {
namespace {

using ::testing::HasSubstr;

constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(Text, WidthCountsColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth(""), 0);
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("größe"), 5);
  EXPECT_EQ(DisplayWidth("日本"), 4);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1) << "a combining accent takes no column";
  EXPECT_EQ(DisplayWidth("🚀"), 2);
  EXPECT_EQ(DisplayWidth("▁█░"), 3);
  EXPECT_EQ(DisplayWidth("\xff\xc3"), 2) << "bytes that are no UTF-8 count one each";
}

TEST(Text, TruncateNeverExceedsItsWidthAndNeverSplitsACharacter) {
  EXPECT_EQ(Truncate("abcdef", 6), "abcdef");
  EXPECT_EQ(Truncate("abcdef", 4), "abc…");
  EXPECT_EQ(Truncate("日本語", 4), "日…");
  EXPECT_EQ(Truncate("abc", 1), "…");
  EXPECT_EQ(Truncate("abc", 0), "");
}

TEST(Text, ControlCharactersOfAJobCannotMoveTheCursor) {
  EXPECT_EQ(Printable("a\033[2Jb\nc\td\x7f"), "a [2Jb c d ");
  EXPECT_EQ(Printable("a\u009b2Jb"), "a 2Jb") << "U+009B is ESC [ in one character";
  EXPECT_EQ(Printable("\xe6\033[2J"), "\xe6 [2J") << "behind a broken character";
  EXPECT_EQ(Printable("größe 日本"), "größe 日本");
}

TEST(Text, PaintsOnlyWithColour) {
  EXPECT_EQ(Paint("x", Style::kRed, true), "\033[31mx\033[0m");
  EXPECT_EQ(Paint("x", Style::kRed, false), "x");
  EXPECT_EQ(Paint("x", Style::kPlain, true), "x");
}

Table Sample() {
  return {{{"NAME"}, {"N", Align::kRight}, {"NOTE"}},
          {{"日本", "5", "a note that is long"}, {"b", "1234", ""}, {{"größe", Style::kGreen}, "", "x"}}};
}

TEST(RenderTable, AlignsWideCharactersAndEmptyCells) {
  EXPECT_EQ(RenderTable(Sample(), {}),
            "NAME      N  NOTE\n"
            "日本      5  a note that is long\n"
            "b      1234\n"
            "größe        x\n");
}

TEST(RenderTable, WithoutHeadersAndIndented) {
  EXPECT_EQ(RenderTable({{{"A"}, {"B"}}, {{"x", "y"}}}, {.headers = false, .indent = 2}), "  x  y\n");
  EXPECT_EQ(RenderTable({{{"A"}, {"B"}}, {}}, {}), "A  B\n");
  EXPECT_EQ(RenderTable({{{"A"}, {"B"}}, {}}, {.headers = false}), "");
}

TEST(RenderTable, CutsTheLastColumnThenTheFirst) {
  EXPECT_EQ(RenderTable({{{"ID"}, {"S"}, {"NOTE"}}, {{"moe-polynorm-1", "run", "waits for slots"}}}, {.width = 30}),
            "ID              S    NOTE\n"
            "moe-polynorm-1  run  waits fo…\n");
  EXPECT_EQ(RenderTable({{{"ID"}, {"S"}, {"NOTE"}}, {{"moe-polynorm-1", "run", "waits for slots"}}}, {.width = 26}),
            "ID           S    NOTE\n"
            "moe-polyno…  run  waits f…\n");
}

TEST(RenderTable, AnIdStaysWholeWhereTheLineWrapsAnyway) {
  const std::string text =
      RenderTable({{{"ID"}, {"MIDDLE"}, {"NOTE"}}, {{"moe-polynorm-1", std::string(40, 'm'), "waits for slots"}}}, {.width = 40});
  EXPECT_THAT(text, HasSubstr("moe-polynorm-1  mmm"));
  EXPECT_THAT(text, HasSubstr("waits f…\n"));
}

TEST(RenderTable, ColoursDoNotChangeTheAlignment) {
  std::string coloured = RenderTable(Sample(), {.colour = true});
  EXPECT_THAT(coloured, HasSubstr("\033[32mgröße\033[0m"));
  for (const char* escape : {"\033[2m", "\033[32m", "\033[0m"}) {
    for (size_t at; (at = coloured.find(escape)) != std::string::npos;) coloured.erase(at, std::string(escape).size());
  }
  EXPECT_EQ(coloured, RenderTable(Sample(), {}));
}

TEST(RenderTable, WhateverIsInACellALineStaysALineWithinTheWidth) {
  const bool holds = rc::check([] {
    Table table{{{"ID"}, {"N", Align::kRight}, {"NOTE"}}, {}};
    const int rows = *rc::gen::inRange(0, 5);
    for (int i = 0; i < rows; ++i) {
      const auto text = rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab \n\t\033\xe6\x97\xa5\xc2\x9b")));
      table.rows.push_back({*text, "12", *text});
    }
    const std::string rendered = RenderTable(table, {.width = 40});
    const std::vector<std::string> lines = absl::StrSplit(rendered, '\n');
    RC_ASSERT(lines.size() == static_cast<size_t>(rows) + 2);  // headers, and nothing after the last newline
    for (const std::string& line : lines) {
      RC_ASSERT(DisplayWidth(line) <= 40);
      RC_ASSERT(line.find('\033') == std::string::npos);
      RC_ASSERT(line.empty() || line.back() != ' ');
    }
  });
  EXPECT_TRUE(holds);
}

TEST(Sparkline, ScalesAveragesAndShowsWhatIsNotFinite) {
  EXPECT_EQ(Sparkline({}, 8), "");
  EXPECT_EQ(Sparkline({3, 3, 3}, 8), "▁▁▁");
  EXPECT_EQ(Sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 8), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(Sparkline({8, 8, 0, 0}, 2), "█▁");
  EXPECT_EQ(Sparkline({1, kInf, 2}, 8), "▁!█");
  EXPECT_EQ(Sparkline({std::nan(""), std::nan("")}, 8), "!!");
  EXPECT_EQ(Sparkline({1, 2}, 0), "");
}

TEST(ProgressBar, FillsInEighthsAndIsAlwaysAsWide) {
  EXPECT_EQ(ProgressBar(0, 4), "░░░░");
  EXPECT_EQ(ProgressBar(0.5, 4), "██░░");
  EXPECT_EQ(ProgressBar(0.53125, 4), "██▏░");
  EXPECT_EQ(ProgressBar(1, 4), "████");
  EXPECT_EQ(ProgressBar(7, 4), "████");
  EXPECT_EQ(ProgressBar(std::nan(""), 4), "░░░░");
  for (int i = -5; i <= 105; ++i) EXPECT_EQ(DisplayWidth(ProgressBar(i / 100.0, 10)), 10) << i;
}

TEST(Format, States) {
  EXPECT_EQ(StateName(v1::JOB_STATE_RUNNING), "running");
  EXPECT_EQ(StateName(static_cast<v1::JobState>(99)), "unknown") << "of a newer server";
  for (int s = v1::JOB_STATE_PENDING; s <= v1::JOB_STATE_CANCELLED; ++s) {
    const auto state = static_cast<v1::JobState>(s);
    EXPECT_EQ(ParseState(StateName(state)), state);
  }
  EXPECT_EQ(ParseState("runing"), std::nullopt);
  EXPECT_TRUE(IsFinal(v1::JOB_STATE_FAILED));
  EXPECT_FALSE(IsFinal(v1::JOB_STATE_RUNNING));
}

TEST(Format, Reasons) {
  EXPECT_EQ(ReasonName(v1::WAIT_REASON_SLOTS_BUSY), "slots busy");
  EXPECT_EQ(ReasonName(v1::END_REASON_WORKER_LOST), "worker lost");
}

TEST(Format, Activations) {
  v1::ActivationSpec activation;
  activation.set_kind(v1::ACTIVATION_KIND_POLYNORM);
  activation.set_order(3);
  EXPECT_EQ(ActivationName(activation), "polynorm(3)");
  activation.set_kind(v1::ACTIVATION_KIND_SWIGLU);
  EXPECT_EQ(ActivationName(activation), "swiglu");
}

TEST(Format, Figures) {
  EXPECT_EQ(FormatLoss(0), "-");
  EXPECT_EQ(FormatLoss(2.34567), "2.3457");
  EXPECT_EQ(FormatLoss(-0.5), "-0.5000");
  EXPECT_EQ(FormatLoss(123456.7), "1.235e+05");
  EXPECT_EQ(FormatLoss(std::nan("")), "nan");
  EXPECT_EQ(FormatShare(0.9999), "99%");
  EXPECT_EQ(FormatShare(1), "100%");
  EXPECT_EQ(FormatTime(1'772'366'400'000), "2026-03-01 12:00:00 UTC");
  EXPECT_EQ(FormatAge(0, absl::FromUnixMillis(5000)), "-");
  EXPECT_EQ(FormatAge(1000, absl::FromUnixMillis(186'000)), "3m05s");
  EXPECT_EQ(FormatAge(9000, absl::FromUnixMillis(5000)), "0s") << "a clock that is behind";
}

}  // namespace
}  // namespace polymoe::polyctl
