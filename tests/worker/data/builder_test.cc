#include "worker/data/builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "worker/data/dataset.h"
#include "worker/data/tokenizer.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

std::string Story(int seed, size_t bytes) {
  static constexpr const char* kWords[] = {"expert",     "router", "token", "the", "polynomial",
                                           "activation", "naïve",  "of",    "a",   "gradient"};
  std::string text;
  for (uint32_t x = seed * 2654435761u + 1; text.size() < bytes; x = x * 1664525 + 1013904223) {
    absl::StrAppend(&text, kWords[(x >> 16) % 10], (x >> 24) % 17 == 0 ? ".\n\n" : " ");
  }
  return text;
}

class Builder : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& content) {
    ASSERT_TRUE(WriteFileDurably(in_.path() + "/" + name, content).ok());
  }

  BuildOptions Options(const std::string& name = "out") {
    return {.inputs = {in_.path()}, .output = out_.path() + "/" + name, .heldout = 0.3};
  }

  static std::string Text(const std::string& dataset, const std::string& split) {
    const auto data = Dataset::Open(dataset, split);
    EXPECT_TRUE(data.ok()) << data.status();
    std::vector<int32_t> ids(data->tokens());
    data->Read(0, absl::MakeSpan(ids));
    return MakeByteTokenizer()->Decode({ids.begin(), ids.end()});
  }

  TempDir in_, out_;
};

TEST_F(Builder, KeepsTextAndBoundaries) {
  Write("a.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \"two \\u00e9\"}");
  auto options = Options();
  options.heldout = 0;
  const auto manifest = BuildDataset(options);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  const auto data = Dataset::Open(options.output, "train");
  std::vector<int32_t> ids(data->tokens());
  data->Read(0, absl::MakeSpan(ids));
  EXPECT_EQ(ids, (std::vector<int32_t>{'o', 'n', 'e', 256, 't', 'w', 'o', ' ', 0xc3, 0xa9, 256}));
  EXPECT_EQ(data->bytes(), 9u);
}

TEST_F(Builder, SplitsByContentAndDropsDuplicates) {
  std::string lines;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&lines, "{\"text\": \"document number ", i % 150, "\"}\n");
  Write("a.jsonl", lines);
  const auto manifest = BuildDataset(Options());
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->duplicates, 50u);
  EXPECT_EQ(manifest->splits.at("train").documents + manifest->splits.at("heldout").documents, 150u);
  EXPECT_GT(manifest->splits.at("heldout").documents, 20u);
  // A build of a part of the text puts each document into the same split.
  const TempDir other;
  ASSERT_TRUE(WriteFileDurably(other.path() + "/b.jsonl",
                               lines.substr(0, lines.size() / 2 + 1).substr(0, lines.find('\n', lines.size() / 3) + 1))
                  .ok());
  auto options = Options("part");
  options.inputs = {other.path()};
  ASSERT_TRUE(BuildDataset(options).ok());
  const std::string whole = Text(out_.path() + "/out", "heldout");
  const std::string part = Text(out_.path() + "/part", "heldout");
  EXPECT_EQ(whole.substr(0, part.size()), part);
}

TEST_F(Builder, CompressedFilesReadTheSame) {
  const std::string story = Story(1, 100'000);
  Write("a.txt", story);
  ASSERT_TRUE(BuildDataset(Options("plain")).ok());
  ASSERT_TRUE(RemoveTree(in_.path() + "/a.txt").ok());
  const gzFile gz = gzopen((in_.path() + "/a.txt.gz").c_str(), "wb");
  gzwrite(gz, story.data(), story.size());
  gzclose(gz);
  ASSERT_TRUE(BuildDataset(Options("gz")).ok());
  ASSERT_TRUE(RemoveTree(in_.path() + "/a.txt.gz").ok());
  std::string packed(ZSTD_compressBound(story.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), story.data(), story.size(), 3));
  Write("a.txt.zst", packed);
  ASSERT_TRUE(BuildDataset(Options("zst")).ok());
  EXPECT_EQ(Text(out_.path() + "/plain", "train"), Text(out_.path() + "/gz", "train"));
  EXPECT_EQ(Text(out_.path() + "/plain", "train"), Text(out_.path() + "/zst", "train"));

  Write("a.txt.zst", packed.substr(0, packed.size() / 2));
  EXPECT_THAT(std::string(BuildDataset(Options("broken")).status().message()), HasSubstr("a.txt.zst: truncated zstd file"));
  ASSERT_TRUE(RemoveTree(in_.path() + "/a.txt.zst").ok());
  Write("b.gz", "this is no gzip");
  EXPECT_THAT(std::string(BuildDataset(Options("broken")).status().message()), HasSubstr("b.gz: damaged or truncated gzip file"));
}

TEST_F(Builder, AnInterruptedBuildGoesOnToTheSameBytes) {
  for (int i = 0; i < 5; ++i) Write(absl::StrCat("f", i, ".txt"), Story(i, 60'000));
  auto options = Options("straight");
  options.tokenizer = "train-spm:300";
  options.shard_tokens = 20'000;
  ASSERT_TRUE(BuildDataset(options).ok());
  auto resumed = options;
  resumed.output = out_.path() + "/resumed";
  uint64_t first_run = 0;
  resumed.progress = [&](const BuildProgress& p) {
    first_run = p.documents;
    return p.files_done == 2 ? absl::CancelledError("stop here") : absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(BuildDataset(resumed).status()));
  EXPECT_TRUE(absl::IsNotFound(Dataset::Open(resumed.output, "train").status())) << "half a dataset must not look like one";
  uint64_t second_run = 0;
  resumed.progress = [&](const BuildProgress& p) {
    second_run = p.documents;
    return absl::OkStatus();
  };
  ASSERT_TRUE(BuildDataset(resumed).ok());
  EXPECT_LT(second_run, first_run * 2) << "finished inputs are not read again";
  const auto names = ListDirectory(options.output);
  EXPECT_EQ(*names, *ListDirectory(resumed.output));
  EXPECT_GT(names->size(), 4u);
  for (const std::string& name : *names) {
    EXPECT_EQ(*ReadFile(options.output + "/" + name), *ReadFile(resumed.output + "/" + name)) << name;
  }
}

TEST_F(Builder, AFinishedDatasetIsLeftAloneAndAnotherNotOverwritten) {
  Write("a.txt", Story(1, 50'000));
  ASSERT_TRUE(BuildDataset(Options()).ok());
  auto again = Options();
  again.progress = [](const BuildProgress&) { return absl::InternalError("built again"); };
  EXPECT_TRUE(BuildDataset(again).ok());
  again.heldout = 0.5;
  EXPECT_EQ(BuildDataset(again).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(Builder, BadInputHasOneClearError) {
  const auto error = [&](BuildOptions options) { return std::string(BuildDataset(options).status().message()); };
  EXPECT_THAT(error(Options()), HasSubstr("there are no input files"));
  auto missing = Options();
  missing.inputs = {"/no/such/file"};
  EXPECT_THAT(error(missing), HasSubstr("/no/such/file: No such file"));
  Write("empty.txt", " \n\n ");
  EXPECT_THAT(error(Options()), HasSubstr("the inputs hold no text"));
  Write("x.jsonl", "{\"text\": \"fine\"}\n{\"body\": 1}\n");
  EXPECT_THAT(error(Options()), HasSubstr("x.jsonl:2: has no text field 'text'"));
  Write("x.jsonl", "{\"text\": \"fine\"}\n{oops\n");
  EXPECT_THAT(error(Options()), HasSubstr("x.jsonl:2: not valid JSON"));
  auto unknown = Options();
  unknown.tokenizer = "wordpiece";
  EXPECT_THAT(error(unknown), HasSubstr("tokenizer 'wordpiece' is not known"));
  Write("model", "garbage");
  unknown.tokenizer = "spm:" + in_.path() + "/model";
  EXPECT_THAT(error(unknown), HasSubstr("not a usable SentencePiece model"));
}

TEST(SentencePiece, RoundTripsWhateverItIsGiven) {
  std::vector<std::string> lines;
  for (int i = 0; i < 50; ++i) lines.push_back(Story(i, 200));
  const auto model = TrainSentencePiece(lines, 300);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(*model, *TrainSentencePiece(lines, 300)) << "training must be deterministic";
  const auto tokenizer = MakeSentencePieceTokenizer(*model);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 300u);
  for (const std::string text : {"", "the expert", "  two spaces\nand lines\t", "日本語 naïve 🙂", "0123456789"}) {
    std::vector<uint32_t> ids;
    (*tokenizer)->Encode(text, &ids);
    EXPECT_EQ((*tokenizer)->Decode(ids), text);
    for (const uint32_t id : ids) EXPECT_LT(id, 300u);
  }
  EXPECT_EQ(TrainSentencePiece(lines, 100'000).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace polymoe
