#include "worker/data/builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "common/status.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/corpus.h"
#include "tests/worker/data/files.h"
#include "worker/data/dataset.h"

namespace polymoe {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// All tokens of a split; none when there is no such split.
std::vector<int32_t> Tokens(const std::string& directory, const std::string& split) {
  const auto dataset = Dataset::Open(directory, split);
  if (!dataset.ok()) return {};
  std::vector<int32_t> tokens(dataset->tokens());
  dataset->Read(0, absl::MakeSpan(tokens));
  return tokens;
}

// The documents of a split that was built from bytes.
std::vector<std::string> Documents(const std::string& directory, const std::string& split) {
  std::vector<std::string> documents(1);
  for (const int32_t token : Tokens(directory, split)) {
    if (token == 256) {
      documents.emplace_back();
    } else {
      documents.back() += static_cast<char>(token);
    }
  }
  EXPECT_EQ(documents.back(), "") << "the last document has no end";
  documents.pop_back();
  return documents;
}

// Name -> content of every file below a folder, and so a dataset's identity to the byte.
std::map<std::string, std::string> Contents(const std::string& directory) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) contents[entry.path().string().substr(directory.size())] = *ReadFile(entry.path());
  }
  return contents;
}

std::string JsonLine(const std::string& text) {
  return nlohmann::json{{"text", text}}.dump() + "\n";
}

class BuilderTest : public ::testing::Test {
 protected:
  BuilderTest() {
    options_.inputs = {In()};
    options_.output = Out();
  }
  std::string In(const std::string& name = "") const { return dir_.path() + "/in" + (name.empty() ? "" : "/" + name); }
  std::string Out(const std::string& name = "out") const { return dir_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& content) { WriteText(In(name), content); }
  // Ten files of a few documents each, in all formats.
  void WriteCorpus() {
    for (int i = 0; i < 4; ++i) Write(absl::StrCat("text-", i, ".txt"), Corpus(60'000, i));
    Write("packed.txt.gz", Gzip(Corpus(40'000, 10)));
    Write("packed.txt.zst", Zstd(Corpus(40'000, 11)));
    std::string lines;
    for (int i = 0; i < 30; ++i) lines += JsonLine(Corpus(500, 20 + i % 25));
    Write("web.jsonl", lines);
    Write("web2.jsonl.zst", Zstd(lines + JsonLine("only here")));
  }
  absl::Status BuildError() {
    const absl::Status status = BuildDataset(options_).status();
    EXPECT_FALSE(status.ok());
    return status;
  }

  TempDir dir_;
  BuildOptions options_;
};

TEST_F(BuilderTest, DocumentsComeOutInOrderEachWithItsEnd) {
  Write("b.jsonl", JsonLine("three") + JsonLine("four"));
  Write("a.txt", "one");
  Write("a/x.txt", "two");
  options_.heldout = 0;
  const auto manifest = BuildDataset(options_);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_THAT(Documents(Out(), "train"), ElementsAre("one", "two", "three", "four"));
  EXPECT_EQ(manifest->vocab, 257u);
  const SplitInfo& train = manifest->splits.at("train");
  EXPECT_EQ(train.documents, 4u);
  EXPECT_EQ(train.bytes, 15u);
  EXPECT_EQ(train.tokens, 19u);
  EXPECT_EQ(manifest->splits.count("heldout"), 0u);
  EXPECT_FALSE(PathExists(Out() + "/.parts"));
}

TEST_F(BuilderTest, TheUnigramEntropyIsThatOfTheTokensOfTheSplit) {
  Write("a.txt", "aaab");  // five tokens: a three times, b and the end of the document once each
  options_.heldout = 0;
  const auto manifest = BuildDataset(options_);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_NEAR(manifest->splits.at("train").unigram_entropy, 0.6 * std::log(5.0 / 3) + 0.4 * std::log(5.0), 1e-12);
}

TEST_F(BuilderTest, AllFormatsGiveTheSameTokens) {
  const std::string text = Corpus(300'000, 1);
  std::set<std::string> fingerprints;
  for (const auto& [name, content] :
       std::map<std::string, std::string>{{"a.txt", text}, {"a.txt.gz", Gzip(text)}, {"a.txt.zst", Zstd(text)}}) {
    Write(name, content);
    options_.inputs = {In(name)};
    options_.output = Out(name);
    const auto manifest = BuildDataset(options_);
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    fingerprints.insert(manifest->splits.at("train").fingerprint);
  }
  EXPECT_EQ(fingerprints.size(), 1u);
}

TEST_F(BuilderTest, HeldOutDocumentsAreInNoOtherSplit) {
  std::string lines;
  for (int i = 0; i < 4000; ++i) lines += JsonLine(absl::StrCat("document ", i % 3000));
  Write("a.jsonl", lines);
  options_.heldout = 0.2;
  ASSERT_TRUE(BuildDataset(options_).ok());
  const std::vector<std::string> train = Documents(Out(), "train"), heldout = Documents(Out(), "heldout");
  const std::set<std::string> train_set(train.begin(), train.end()), heldout_set(heldout.begin(), heldout.end());
  EXPECT_EQ(train_set.size() + heldout_set.size(), 3000u);
  EXPECT_EQ(train.size() + heldout.size(), 3000u) << "duplicates are left out";
  for (const std::string& document : heldout) EXPECT_EQ(train_set.count(document), 0u) << document;
  // Binomial(3000, 0.2): 600 with a deviation of 22; the hash is fixed, so is the outcome.
  EXPECT_NEAR(heldout.size(), 600, 5 * std::sqrt(3000 * 0.2 * 0.8));

  // The same documents are held out of any other dataset.
  std::filesystem::remove_all(In());
  std::string other;
  for (int i = 2999; i >= 0; i -= 2) other += JsonLine(absl::StrCat("document ", i));
  Write("a.txt", "document 0");
  Write("b.jsonl", other);
  options_.output = Out("other");
  ASSERT_TRUE(BuildDataset(options_).ok());
  for (const std::string& document : Documents(Out("other"), "heldout")) EXPECT_EQ(heldout_set.count(document), 1u) << document;
  for (const std::string& document : Documents(Out("other"), "train")) EXPECT_EQ(train_set.count(document), 1u) << document;
}

TEST_F(BuilderTest, AllOrNothingCanBeHeldOut) {
  Write("a.txt", Corpus(100'000, 1));
  options_.heldout = 1;
  ASSERT_TRUE(BuildDataset(options_).ok());
  EXPECT_THAT(Tokens(Out(), "train"), IsEmpty());
  const std::vector<int32_t> heldout = Tokens(Out(), "heldout");
  options_.heldout = 0;
  options_.output = Out("train");
  ASSERT_TRUE(BuildDataset(options_).ok());
  EXPECT_EQ(Tokens(Out("train"), "train"), heldout);
}

TEST_F(BuilderTest, SourcesAreCounted) {
  Write("x/1.txt", "one");
  Write("x/2.txt", "two");
  Write("y.jsonl", JsonLine("one") + JsonLine("three") + JsonLine("three"));
  options_.inputs = {In("y.jsonl"), In("x")};
  const auto manifest = BuildDataset(options_);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  ASSERT_EQ(manifest->sources.size(), 2u);
  const SourceInfo &y = manifest->sources[0], &x = manifest->sources[1];
  EXPECT_EQ(y.path, In("y.jsonl"));
  EXPECT_EQ(std::vector<uint64_t>({y.files, y.documents, y.tokens, y.bytes, y.duplicates}), std::vector<uint64_t>({1, 1, 6, 5, 2}));
  EXPECT_EQ(std::vector<uint64_t>({x.files, x.documents, x.tokens, x.bytes, x.duplicates}), std::vector<uint64_t>({2, 2, 8, 6, 0}));
}

TEST_F(BuilderTest, ShardsAreCutAtDocumentsAndTheFingerprintDoesNotSeeThem) {
  WriteCorpus();
  const auto one = BuildDataset(options_);
  ASSERT_TRUE(one.ok());
  options_.output = Out("small");
  options_.shard_tokens = 50'000;
  const auto many = BuildDataset(options_);
  ASSERT_TRUE(many.ok());
  const SplitInfo& train = many->splits.at("train");
  EXPECT_GT(train.shards.size(), 4u);
  for (size_t i = 0; i + 1 < train.shards.size(); ++i) {
    EXPECT_GE(train.shards[i].tokens, 50'000u);
    EXPECT_LT(train.shards[i].tokens, 50'000u + (64 << 10) + 4);
  }
  EXPECT_EQ(train.fingerprint, one->splits.at("train").fingerprint);
  EXPECT_EQ(Tokens(Out("small"), "train"), Tokens(Out(), "train"));
}

TEST_F(BuilderTest, TheFingerprintIsOfTheContent) {
  std::set<std::string> fingerprints;
  for (const char* text : {"one", "two", "one "}) {
    Write("a.txt", text);
    options_.output = Out(text);
    options_.heldout = 0;
    fingerprints.insert(BuildDataset(options_)->splits.at("train").fingerprint);
  }
  EXPECT_EQ(fingerprints.size(), 3u);
}

// Stops a build at its n-th progress call, for every n that there is, takes it up again, and compares with a build in one go.
class ResumeTest : public BuilderTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(ResumeTest, AnInterruptedBuildEndsAsAnUninterruptedOne) {
  WriteCorpus();
  options_.tokenizer = GetParam();
  options_.shard_tokens = 30'000;
  int calls = 0;
  options_.progress = [&](const BuildProgress&) { return ++calls, absl::OkStatus(); };
  ASSERT_TRUE(BuildDataset(options_).ok());
  const std::map<std::string, std::string> expected = Contents(Out());
  const int all_calls = calls;
  ASSERT_GT(all_calls, 50);
  options_.output = Out("interrupted");
  for (int stop = 1; stop <= all_calls; stop += 3) {
    ASSERT_TRUE(RemoveTree(options_.output).ok());
    calls = 0;
    options_.progress = [&](const BuildProgress&) { return ++calls < stop ? absl::OkStatus() : absl::CancelledError("stop"); };
    ASSERT_TRUE(absl::IsCancelled(BuildDataset(options_).status())) << "stop " << stop;
    ASSERT_TRUE(absl::IsNotFound(Dataset::Open(options_.output, "train").status())) << "stop " << stop;
    options_.progress = nullptr;
    const auto manifest = BuildDataset(options_);
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    ASSERT_TRUE(Contents(options_.output) == expected) << "stop " << stop;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, ResumeTest, ::testing::Values("bytes", "train-spm:400"),
                         [](const auto& info) { return info.param == "bytes" ? "Bytes" : "TrainSpm"; });

TEST_F(BuilderTest, ABuildThatIsInterruptedAgainAndAgainGetsThrough) {
  WriteCorpus();
  ASSERT_TRUE(BuildDataset(options_).ok());
  options_.output = Out("interrupted");
  int runs = 0;
  for (;; ++runs) {
    int files_before = -1;
    options_.progress = [&](const BuildProgress& p) {
      // One new file a run.
      if (files_before < 0 && p.documents > 0) files_before = static_cast<int>(p.files_done);
      return files_before >= 0 && static_cast<int>(p.files_done) > files_before ? absl::CancelledError("stop") : absl::OkStatus();
    };
    if (BuildDataset(options_).ok()) break;
    ASSERT_LT(runs, 20);
  }
  EXPECT_EQ(runs, 8);
  EXPECT_TRUE(Contents(options_.output) == Contents(Out()));
}

TEST_F(BuilderTest, PartsOfOtherOptionsAreNotUsed) {
  WriteCorpus();
  options_.progress = [](const BuildProgress& p) { return p.files_done < 6 ? absl::OkStatus() : absl::CancelledError("stop"); };
  ASSERT_TRUE(absl::IsCancelled(BuildError()));
  options_.progress = nullptr;
  options_.tokenizer = "train-spm:400";
  ASSERT_TRUE(BuildDataset(options_).ok());
  options_.output = Out("fresh");
  ASSERT_TRUE(BuildDataset(options_).ok());
  EXPECT_TRUE(Contents(Out()) == Contents(Out("fresh")));
}

// The parts that are there were made with the model that is there: a newer library might train another one.
TEST_F(BuilderTest, AnInterruptedBuildKeepsItsTokenizer) {
  WriteCorpus();
  options_.tokenizer = "train-spm:410";
  options_.output = Out("other");
  ASSERT_TRUE(BuildDataset(options_).ok());
  options_.tokenizer = "train-spm:400";
  options_.output = Out();
  options_.progress = [](const BuildProgress&) { return absl::CancelledError("stop"); };
  ASSERT_TRUE(absl::IsCancelled(BuildError()));
  options_.progress = nullptr;
  WriteText(Out() + "/.parts/tokenizer.model", *ReadFile(Out("other") + "/tokenizer.model"));
  EXPECT_EQ(BuildDataset(options_)->vocab, 410u);
}

TEST_F(BuilderTest, AFinishedDatasetIsLeftAlone) {
  WriteCorpus();
  const auto first = BuildDataset(options_);
  const auto written = std::filesystem::last_write_time(Out() + "/manifest.json");
  options_.progress = [](const BuildProgress&) { return absl::InternalError("builds again"); };
  const auto second = BuildDataset(options_);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->options, first->options);
  EXPECT_EQ(std::filesystem::last_write_time(Out() + "/manifest.json"), written);
}

TEST_F(BuilderTest, ADamagedDatasetIsRepaired) {
  WriteCorpus();
  options_.tokenizer = "train-spm:400";
  ASSERT_TRUE(BuildDataset(options_).ok());
  const std::map<std::string, std::string> good = Contents(Out());
  for (const auto& [name, content] : good) {
    for (const std::string& bad : {content.substr(0, content.size() / 2), std::string()}) {
      if (name == "/tokenizer.model" && !bad.empty()) continue;  // training does not read it
      bad.empty() ? std::filesystem::remove(Out() + name) : (WriteText(Out() + name, bad), true);
      const auto manifest = BuildDataset(options_);
      ASSERT_TRUE(manifest.ok()) << name << ": " << manifest.status();
      EXPECT_TRUE(Contents(Out()) == good) << name;
    }
  }
}

TEST_F(BuilderTest, AnotherDatasetIsNotOverwritten) {
  Write("a.txt", "text");
  ASSERT_TRUE(BuildDataset(options_).ok());
  const std::map<std::string, std::string> before = Contents(Out());
  const auto expect_refused = [&](BuildOptions options) {
    const absl::Status status = BuildDataset(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(Out()), HasSubstr("--out")));
    EXPECT_TRUE(Contents(Out()) == before);
  };
  BuildOptions changed = options_;
  changed.heldout = 0.02 + 1e-12;
  expect_refused(changed);
  changed = options_;
  changed.text_field = "body";
  expect_refused(changed);
  changed = options_;
  changed.shard_tokens = 100;
  expect_refused(changed);
  changed = options_;
  changed.tokenizer = "train-spm:300";
  expect_refused(changed);
  Write("b.txt", "more");
  expect_refused(options_);
  std::filesystem::remove(In("b.txt"));
  ASSERT_TRUE(BuildDataset(options_).ok());
  // Other content of the same size.
  Write("a.txt", "TEXT");
  std::filesystem::last_write_time(In("a.txt"), std::filesystem::file_time_type::clock::now() + std::chrono::seconds(1));
  expect_refused(options_);
}

TEST_F(BuilderTest, AnotherModelUnderTheSameNameIsSeen) {
  WriteCorpus();
  options_.tokenizer = "train-spm:400";
  options_.output = Out("first");
  ASSERT_TRUE(BuildDataset(options_).ok());
  options_.tokenizer = "train-spm:410";
  options_.output = Out("second");
  ASSERT_TRUE(BuildDataset(options_).ok());
  const std::string model = dir_.path() + "/my.model";
  std::filesystem::copy_file(Out("first") + "/tokenizer.model", model);
  options_.tokenizer = "spm:" + model;
  options_.output = Out();
  const auto manifest = BuildDataset(options_);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->vocab, 400u);
  EXPECT_EQ(Tokens(Out(), "train"), Tokens(Out("first"), "train"));
  EXPECT_EQ(*ReadFile(Out() + "/tokenizer.model"), *ReadFile(model));
  std::filesystem::copy_file(Out("second") + "/tokenizer.model", model, std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(BuildError().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(BuilderTest, ProgressGrowsToTheTotal) {
  WriteCorpus();
  BuildProgress last;
  options_.progress = [&](const BuildProgress& p) {
    EXPECT_GE(p.bytes_done, last.bytes_done);
    EXPECT_GE(p.documents, last.documents);
    EXPECT_LE(p.bytes_done, p.bytes_total);
    EXPECT_EQ(p.files_total, 8u);
    last = p;
    return absl::OkStatus();
  };
  ASSERT_TRUE(BuildDataset(options_).ok());
  EXPECT_EQ(last.bytes_done, last.bytes_total);
  EXPECT_EQ(last.files_done, 8u);
  EXPECT_GT(last.documents, 70u);
  EXPECT_GT(last.tokens, 300'000u);
}

TEST_F(BuilderTest, BadOptionsLeaveNothingBehind) {
  Write("a.txt", "text");
  const BuildOptions good = options_;
  const auto expect_refused = [&](absl::StatusCode code, const std::string& part) {
    const absl::Status status = BuildError();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    EXPECT_FALSE(PathExists(Out())) << part;
    options_ = good;
  };
  for (const char* tokenizer : {"", "gpt2", "spm", "train-spm:", "train-spm:0", "train-spm:-5", "train-spm:many"}) {
    options_.tokenizer = tokenizer;
    expect_refused(absl::StatusCode::kInvalidArgument, absl::StrCat("tokenizer '", tokenizer, "' is not known; write bytes, spm:"));
  }
  options_.tokenizer = "spm:/nowhere/x.model";
  expect_refused(absl::StatusCode::kNotFound, "/nowhere/x.model");
  options_.tokenizer = "spm:" + In("a.txt");
  expect_refused(absl::StatusCode::kInvalidArgument, In("a.txt") + ": not a usable SentencePiece model");
  for (const double share : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    options_.heldout = share;
    expect_refused(absl::StatusCode::kInvalidArgument, "held-out share");
  }
  options_.shard_tokens = 0;
  expect_refused(absl::StatusCode::kInvalidArgument, "tokens a shard is 0");
  options_.inputs = {In("none.txt")};
  expect_refused(absl::StatusCode::kNotFound, In("none.txt"));
}

TEST_F(BuilderTest, BadInputsAreNamed) {
  Write("a.jsonl", JsonLine("fine") + "{\"body\": \"x\"}\n");
  EXPECT_THAT(std::string(BuildError().message()), HasSubstr(In("a.jsonl") + ":2: has no text field 'text'"));
  std::filesystem::remove_all(In());
  Write("a.txt.gz", "no gzip");
  EXPECT_THAT(std::string(BuildError().message()), HasSubstr(In("a.txt.gz") + ": damaged"));
  std::filesystem::remove_all(In());
  Write("a.txt", " \n");
  for (const char* tokenizer : {"bytes", "train-spm:300"}) {
    options_.tokenizer = tokenizer;
    EXPECT_EQ(BuildError(), absl::InvalidArgumentError("the inputs hold no text"));
  }
}

TEST_F(BuilderTest, AFullDiskIsResourceExhaustedAndTheBuildGoesOnLater) {
  WriteCorpus();
  ASSERT_TRUE(BuildDataset(options_).ok());
  const std::map<std::string, std::string> expected = Contents(Out());
  // /dev/full fails every write with ENOSPC. The folder and its stamp are there, as of an interrupted build.
  options_.output = Out("full");
  options_.progress = [](const BuildProgress&) { return absl::CancelledError("stop"); };
  ASSERT_TRUE(absl::IsCancelled(BuildError()));
  options_.progress = nullptr;
  for (const char* name : {"/.parts/000003.tmp", "/train-00000.tok.tmp", "/manifest.json.tmp"}) {
    ASSERT_EQ(symlink("/dev/full", (Out("full") + name).c_str()), 0);
    const absl::Status status = BuildError();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(Out("full") + name));
    EXPECT_FALSE(PathExists(Out("full") + "/manifest.json"));
    std::filesystem::remove(Out("full") + name);
  }
  ASSERT_TRUE(BuildDataset(options_).ok());
  EXPECT_TRUE(Contents(Out("full")) == expected);
}

// Any documents at all: what goes in comes out, once, in one of the splits.
RC_GTEST_PROP(Builder, DocumentsAreConserved, ()) {
  const TempDir dir;
  const auto texts = *rc::gen::container<std::vector<std::string>>(rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127)));
  std::string lines = JsonLine("never empty");
  std::set<std::string> expected = {"never empty"};
  for (const std::string& text : texts) {
    lines += JsonLine(text);
    if (text.find_first_not_of(" \t\n\v\f\r") != std::string::npos) expected.insert(text);
  }
  BuildOptions options;
  options.inputs = {WriteText(dir.path() + "/a.jsonl", lines)};
  options.output = dir.path() + "/out";
  options.heldout = *rc::gen::element(0.0, 0.3, 1.0);
  options.shard_tokens = *rc::gen::inRange<uint64_t>(1, 100);
  RC_ASSERT(BuildDataset(options).ok());
  std::vector<std::string> found;
  for (const char* split : {"train", "heldout"}) {
    const auto dataset = Dataset::Open(options.output, split);
    if (!dataset.ok()) continue;
    for (std::string& document : Documents(options.output, split)) found.push_back(std::move(document));
  }
  RC_ASSERT(found.size() == expected.size());
  RC_ASSERT(std::set<std::string>(found.begin(), found.end()) == expected);
}

}  // namespace
}  // namespace polymoe
