#include "worker/data/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "common/status.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/files.h"

namespace polymoe {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kSoft = 16 << 10, kHard = 64 << 10;

absl::StatusOr<std::vector<std::string>> Documents(const std::string& path, const std::string& field = "text") {
  std::vector<std::string> documents;
  POLYMOE_RETURN_IF_ERROR(ForEachDocument(path, field, [&](const std::string& text, uint64_t) {
    documents.push_back(text);
    return absl::OkStatus();
  }));
  return documents;
}

class DocumentsTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) { return WriteText(dir_.path() + "/" + name, content); }
  std::vector<std::string> Text(const std::string& content) { return *Documents(Write("a.txt", content)); }
  TempDir dir_;
};

TEST_F(DocumentsTest, AShortFileIsOneDocument) {
  EXPECT_THAT(Text("one\n\ntwo\n"), ElementsAre("one\n\ntwo\n"));
  EXPECT_THAT(Text(std::string("\0\xff", 2)), ElementsAre(std::string("\0\xff", 2)));
}

TEST_F(DocumentsTest, WhiteSpaceIsNoDocument) {
  EXPECT_THAT(Text(""), IsEmpty());
  EXPECT_THAT(Text(" \n\n\t"), IsEmpty());
}

TEST_F(DocumentsTest, LongTextIsCutAtTheFirstBlankLineFrom16KiB) {
  const std::string start = "early\n\n" + std::string(kSoft, 'a');
  EXPECT_THAT(Text(start + "\n\nb\n\nc"), ElementsAre(start + "\n\n", "b\n\nc"));
  EXPECT_THAT(Text(start + "\r\n\r\nb\r\n\r\nc"), ElementsAre(start + "\r\n\r\n", "b\r\n\r\nc"));
}

TEST_F(DocumentsTest, TextWithoutBlankLinesIsCutAtALine) {
  const std::string lines = std::string(kHard - 10, 'a') + "\n";
  EXPECT_THAT(Text(lines + "tail " + std::string(20, 'b')), ElementsAre(lines, "tail " + std::string(20, 'b')));
}

TEST_F(DocumentsTest, TextWithoutLinesIsCutBetweenCharacters) {
  // Three bytes a character, and 64 KiB is no multiple of 3.
  std::string text;
  while (text.size() < kHard + 100) text += "€";
  const std::vector<std::string> documents = Text(text);
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0].size(), kHard - kHard % 3);
  EXPECT_EQ(documents[0] + documents[1], text);
  // No UTF-8 at all: still cut, still complete.
  const std::vector<std::string> noise = Text(std::string(2 * kHard, '\x80'));
  ASSERT_EQ(noise.size(), 3u);
  EXPECT_EQ(noise[0].size(), kHard - 3);
  EXPECT_EQ(noise[0] + noise[1] + noise[2], std::string(2 * kHard, '\x80'));
}

// The same cuts however the bytes arrive, also where a blank line lies at the end of what may be looked at.
RC_GTEST_PROP(Documents, CutsLoseNothingAndDoNotDependOnCompression, ()) {
  const TempDir dir;
  std::string text;
  for (int i = *rc::gen::inRange(1, 12); i > 0; --i) {
    const auto size =
        *rc::gen::element<size_t>(10, 5000, kSoft - 1, kSoft, kHard - 4, kHard - 3, kHard - 2, kHard - 1, kHard, 200000);
    text += std::string(size, static_cast<char>('a' + i)) + *rc::gen::element<std::string>("\n", "\n\n", "\r\n\r\n", "\n\r\n", "");
  }
  const auto plain = Documents(WriteText(dir.path() + "/a.txt", text));
  RC_ASSERT(plain.ok());
  size_t end = 0;
  for (const std::string& document : *plain) {
    RC_ASSERT(document.size() <= kHard + 2);
    // What lies between documents, and behind the last, can only be white space.
    const size_t begin = text.find(document, end);
    RC_ASSERT(begin != std::string::npos);
    RC_ASSERT(text.find_first_not_of("\r\n", end) >= begin);
    end = begin + document.size();
  }
  RC_ASSERT(text.find_first_not_of("\r\n", end) == std::string::npos);
  RC_ASSERT(*Documents(WriteText(dir.path() + "/a.gz", Gzip(text))) == *plain);
  RC_ASSERT(*Documents(WriteText(dir.path() + "/a.zst", Zstd(text))) == *plain);
}

TEST_F(DocumentsTest, JsonLinesAreADocumentALine) {
  const std::string lines = R"({"text": "one\nline"}
{"id": 7, "text": "zw\u00f6lf \ud83d\ude00"}

{"text": ""}
{"text": "  "}
{"text": "last"})";
  const auto expected = ElementsAre("one\nline", "zwölf 😀", "last");
  EXPECT_THAT(*Documents(Write("a.jsonl", lines)), expected);
  EXPECT_THAT(*Documents(Write("a.jsonl.gz", Gzip(lines))), expected);
  EXPECT_THAT(*Documents(Write("a.jsonl.zst", Zstd(lines + "\n"))), expected);
  EXPECT_THAT(*Documents(Write("crlf.jsonl", "{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\"}\r\n")), ElementsAre("a", "b"));
}

TEST_F(DocumentsTest, ALineMayBeLongerThanAnyBuffer) {
  const std::string text(3'000'000, 'x');
  EXPECT_THAT(*Documents(Write("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"" + text + "\"}\n{\"text\": \"b\"}\n")),
              ElementsAre("a", text, "b"));
}

TEST_F(DocumentsTest, ABadLineIsNamed) {
  const std::string deep(1'000'000, '[');
  for (const std::string& bad : {std::string("{\"text\": 1}"), std::string("{\"body\": \"x\"}"), std::string("[1]"),
                                 std::string("{"), std::string("\"text\""), std::string("{\"text\": \"\xff\"}"), deep}) {
    const std::string path = Write("a.jsonl", "{\"text\": \"fine\"}\n\n" + bad + "\n");
    const absl::Status status = Documents(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.substr(0, 20);
    EXPECT_THAT(std::string(status.message()), HasSubstr(path + ":3: ")) << bad.substr(0, 20);
  }
}

TEST_F(DocumentsTest, TheFieldHasAName) {
  const std::string path = Write("a.jsonl", R"({"body": "x"})");
  EXPECT_THAT(*Documents(path, "body"), ElementsAre("x"));
  EXPECT_THAT(std::string(Documents(path).status().message()), AllOf(HasSubstr("no text field 'text'"), EndsWith("--text-field")));
}

TEST_F(DocumentsTest, AVisitorsStatusEndsIt) {
  int visits = 0;
  const auto stop = [&](const std::string&, uint64_t) { return ++visits < 2 ? absl::OkStatus() : absl::CancelledError("enough"); };
  const absl::Status status =
      ForEachDocument(Write("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"c\"}\n"), "text", stop);
  EXPECT_TRUE(absl::IsCancelled(status));
  EXPECT_EQ(visits, 2);
}

TEST_F(DocumentsTest, PositionGrowsWithinAFile) {
  std::vector<uint64_t> positions;
  const std::string path = Write("a.txt", std::string(1 << 20, 'x'));
  const absl::Status status = ForEachDocument(path, "text", [&](const std::string&, uint64_t position) {
    positions.push_back(position);
    return absl::OkStatus();
  });
  ASSERT_TRUE(status.ok());
  EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
  EXPECT_LT(positions.front(), 1u << 19);
  EXPECT_EQ(positions.back(), 1u << 20);
}

}  // namespace
}  // namespace polymoe
