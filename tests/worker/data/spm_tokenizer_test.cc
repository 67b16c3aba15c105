#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

#include "tests/worker/data/corpus.h"
#include "worker/data/tokenizer.h"

namespace polymoe {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::Ne;
using ::testing::Not;

constexpr uint32_t kVocab = 400;

std::vector<std::string> Lines() {
  return absl::StrSplit(Corpus(100'000, 1), '\n', absl::SkipEmpty());
}

const std::string& Model() {
  static const std::string* model = new std::string(*TrainSentencePiece(Lines(), kVocab));
  return *model;
}

const Tokenizer& Spm() {
  static const Tokenizer* tokenizer = MakeSentencePieceTokenizer(Model())->release();
  return *tokenizer;
}

std::vector<uint32_t> Encode(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<uint32_t> ids;
  tokenizer.Encode(text, &ids);
  return ids;
}

TEST(ByteTokenizer, EveryByteComesBack) {
  const std::unique_ptr<Tokenizer> bytes = MakeByteTokenizer();
  EXPECT_EQ(bytes->vocab_size(), 257u);
  EXPECT_EQ(bytes->end_of_document(), 256u);
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  std::vector<uint32_t> ids = Encode(*bytes, all);
  EXPECT_EQ(ids.size(), 256u);
  EXPECT_EQ(ids[255], 255u);
  ids.push_back(bytes->end_of_document());
  EXPECT_EQ(bytes->Decode(ids), all);
  EXPECT_THAT(Encode(*bytes, ""), IsEmpty());
}

TEST(ByteTokenizer, EncodeAppends) {
  std::vector<uint32_t> ids = {7};
  MakeByteTokenizer()->Encode("a", &ids);
  EXPECT_THAT(ids, ElementsAre(7, 97));
  std::vector<uint32_t> spm_ids = {7};
  Spm().Encode("a", &spm_ids);
  EXPECT_GT(spm_ids.size(), 1u);
  EXPECT_EQ(spm_ids[0], 7u);
}

TEST(SpmTokenizer, HasTheVocabularyAskedForAndShortensText) {
  EXPECT_EQ(Spm().vocab_size(), kVocab);
  EXPECT_LT(Spm().end_of_document(), kVocab);
  const std::string text = Corpus(10'000, 2);
  EXPECT_LT(Encode(Spm(), text).size() * 2, text.size());
}

TEST(SpmTokenizer, TextComesBackUnchanged) {
  for (const std::string& text :
       {std::string(), std::string(" "), std::string("  two  spaces  "), std::string("\n\ttab\r\n\n"),
        std::string("zwölf 😀 日本語 ﬁ Å e\u0301"), std::string("a\0b", 3), std::string("</s><s><unk><0x41>"),
        std::string("\uFEFF\u200B\u00A0\uFFFD"), std::string(5000, 'q'), Corpus(200'000, 3)}) {
    const std::vector<uint32_t> ids = Encode(Spm(), text);
    EXPECT_TRUE(Spm().Decode(ids) == text) << text.substr(0, 100) << " came back as " << Spm().Decode(ids).substr(0, 100);
    EXPECT_THAT(ids, Each(AllOf(Lt(kVocab), Ne(Spm().end_of_document()))));
  }
}

// Any string of Unicode characters, as UTF-8; but U+2581, which SentencePiece takes for a space.
rc::Gen<std::string> AnyUnicode() {
  const auto scalar = rc::gen::suchThat(rc::gen::oneOf(rc::gen::inRange<uint32_t>(0, 0x80), rc::gen::inRange<uint32_t>(0, 0x3000),
                                                       rc::gen::inRange<uint32_t>(0, 0x110000)),
                                        [](uint32_t c) { return (c < 0xd800 || c > 0xdfff) && c != 0x2581; });
  return rc::gen::map(rc::gen::container<std::vector<uint32_t>>(scalar), [](const std::vector<uint32_t>& characters) {
    std::string text;
    for (const uint32_t c : characters) {
      const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3f)); };
      if (c < 0x80) {
        text += static_cast<char>(c);
      } else if (c < 0x800) {
        text += {static_cast<char>(0xc0 | c >> 6), tail(0)};
      } else if (c < 0x10000) {
        text += {static_cast<char>(0xe0 | c >> 12), tail(6), tail(0)};
      } else {
        text += {static_cast<char>(0xf0 | c >> 18), tail(12), tail(6), tail(0)};
      }
    }
    return text;
  });
}

RC_GTEST_PROP(SpmTokenizer, AnyUnicodeComesBackUnchanged, ()) {
  const std::string text = *AnyUnicode();
  RC_ASSERT(Spm().Decode(Encode(Spm(), text)) == text);
}

RC_GTEST_PROP(SpmTokenizer, AnyBytesGiveIdsInRange, (const std::string& bytes)) {
  for (const uint32_t id : Encode(Spm(), bytes)) RC_ASSERT(id < kVocab && id != Spm().end_of_document());
}

// Nothing is added where a text begins: texts in a row spell the texts in a row.
TEST(SpmTokenizer, EncodingsCanBeJoined) {
  std::vector<uint32_t> ids;
  for (const char* text : {"kalo", "ter", " sun"}) Spm().Encode(text, &ids);
  EXPECT_EQ(Spm().Decode(ids), "kaloter sun");
}

TEST(SpmTokenizer, WhatTheHeaderSaysIsReplaced) {
  EXPECT_EQ(Spm().Decode(Encode(Spm(), "a\xff\xfe z")), "a\uFFFD\uFFFD z");
  EXPECT_EQ(Spm().Decode(Encode(Spm(), "a\u2581z")), "a z");
}

TEST(SpmTokenizer, TheEndOfADocumentHasNoText) {
  std::vector<uint32_t> ids = Encode(Spm(), "kalo");
  ids.push_back(Spm().end_of_document());
  EXPECT_EQ(Spm().Decode(ids), "kalo");
}

TEST(SpmTokenizer, TrainingIsDeterministicAndQuiet) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  const std::string again = *TrainSentencePiece(Lines(), kVocab);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_TRUE(again == Model());
}

TEST(SpmTokenizer, AVocabularyThatCannotBeMadeIsAnError) {
  for (const uint32_t vocab : {1u, 10u, 258u, 1'000'000u, 4'000'000'000u}) {
    const absl::Status status = TrainSentencePiece({"some text", "more text"}, vocab).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << vocab << ": " << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(absl::StrCat(vocab, " pieces")), HasSubstr("smaller vocabulary or more text")));
  }
  EXPECT_EQ(TrainSentencePiece({}, 300).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SpmTokenizer, WhatIsNoModelIsRefused) {
  for (const std::string& model : {std::string(), std::string("this is text"), std::string(1000, '\0')}) {
    const absl::Status status = MakeSentencePieceTokenizer(model).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << model.substr(0, 10);
  }
}

TEST(SpmTokenizer, AModelWithoutBytePiecesIsRefused) {
  const absl::Status status = MakeSentencePieceTokenizer(absl::StrReplaceAll(Model(), {{"<0x0A>", "<0x$$>"}})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte"));
}

RC_GTEST_PROP(SpmTokenizer, ADamagedModelDoesNotCrash, ()) {
  std::string model = Model();
  for (int i = *rc::gen::inRange(1, 4); i > 0; --i) model[*rc::gen::inRange<size_t>(0, model.size())] = *rc::gen::arbitrary<char>();
  const auto tokenizer = MakeSentencePieceTokenizer(model);
  if (!tokenizer.ok()) return;
  for (const uint32_t id : Encode(**tokenizer, "kalo ter\nzwölf")) RC_ASSERT(id < (*tokenizer)->vocab_size());
}

}  // namespace
}  // namespace polymoe
