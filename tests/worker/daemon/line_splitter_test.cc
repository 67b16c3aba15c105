#include "worker/daemon/line_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "rapidcheck.h"
#include "rapidcheck/gtest.h"

#include "common/utf8.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Split(const std::string& text) {
  LineSplitter splitter;
  std::vector<std::string> lines = splitter.Feed(text);
  for (const std::string& line : splitter.Finish()) lines.push_back(line);
  return lines;
}

TEST(LineSplitter, Lines) {
  EXPECT_THAT(Split("a\nbc\n\nd"), ElementsAre("a", "bc", "", "d"));
  EXPECT_THAT(Split("dos\r\nline\r\n"), ElementsAre("dos", "line"));
  EXPECT_THAT(Split(""), IsEmpty());
}

TEST(LineSplitter, ALineWithoutNewlineComesAtTheEndOnly) {
  LineSplitter splitter;
  EXPECT_THAT(splitter.Feed("par"), IsEmpty());
  EXPECT_THAT(splitter.Feed("tial\nrest"), ElementsAre("partial"));
  EXPECT_THAT(splitter.Finish(), ElementsAre("rest"));
  EXPECT_THAT(splitter.Finish(), IsEmpty());
}

TEST(LineSplitter, LongLinesAreCutBetweenCharacters) {
  const std::string exact(LineSplitter::kMaxLineBytes, 'x');
  EXPECT_THAT(Split(exact + "\n"), ElementsAre(exact));
  EXPECT_THAT(Split(exact + "y\n"), ElementsAre(exact, "y"));
  std::string euros;  // 3 bytes each, 8192 is no multiple
  for (size_t i = 0; i < 10'000; ++i) euros += "\u20ac";
  const std::vector<std::string> lines = Split(euros);
  EXPECT_EQ(lines.size(), 4u);
  EXPECT_EQ(absl::StrJoin(lines, ""), euros);
  for (const std::string& line : lines) EXPECT_EQ(ToUtf8(line), line);
}

TEST(LineSplitter, BinaryHasNoCharactersAndIsCutAnyway) {
  const std::string binary(20'000, '\x80');
  EXPECT_EQ(absl::StrJoin(Split(binary), ""), binary);
}

RC_GTEST_PROP(LineSplitterProperty, PiecesDoNotMatter, ()) {
  const auto pieces = *rc::gen::container<std::vector<std::string>>(
      rc::gen::container<std::string>(rc::gen::element('a', '\n', '\r', '\0', '\xe2', '\x82', '\xac')));
  LineSplitter splitter;
  std::vector<std::string> lines;
  std::string whole;
  for (const std::string& piece : pieces) {
    whole += piece;
    for (const std::string& line : splitter.Feed(piece)) lines.push_back(line);
  }
  for (const std::string& line : splitter.Finish()) lines.push_back(line);
  RC_ASSERT(lines == Split(whole));
}

}  // namespace
}  // namespace polymoe
