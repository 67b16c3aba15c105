#include "worker/data/builder.h"

#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

#include "common/file.h"
#include "common/status.h"
#include "worker/data/dataset.h"
#include "worker/data/documents.h"
#include "worker/data/hash.h"
#include "worker/data/inputs.h"
#include "worker/data/part.h"
#include "worker/data/shard.h"
#include "worker/data/tokenizer.h"
#include "worker/data/tokenizer_sample.h"

namespace polymoe {
namespace {

constexpr size_t kTokenizerSampleBytes = 8 << 20;

// What BuildOptions::tokenizer asks for: bytes unless there is a model or a vocabulary to train.
struct TokenizerChoice {
  std::string model;         // the content of a SentencePiece model
  uint32_t train_vocab = 0;  // pieces of one to train
};

absl::StatusOr<TokenizerChoice> ChooseTokenizer(absl::string_view text) {
  TokenizerChoice choice;
  absl::string_view rest = text;
  if (rest == "bytes") return choice;
  if (absl::ConsumePrefix(&rest, "spm:")) {
    POLYMOE_ASSIGN_OR_RETURN(choice.model, ReadFile(std::string(rest)));
    if (const auto usable = MakeSentencePieceTokenizer(choice.model); !usable.ok()) return Annotate(usable.status(), rest);
    return choice;
  }
  if (absl::ConsumePrefix(&rest, "train-spm:") && absl::SimpleAtoi(rest, &choice.train_vocab) && choice.train_vocab > 0) {
    return choice;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer '", text, "' is not known; write bytes, spm:MODEL_FILE or train-spm:VOCAB"));
}

// In nats, of the distribution that the counts describe.
double Entropy(const std::vector<uint64_t>& counts) {
  const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), uint64_t{0}));
  double entropy = 0;
  for (const uint64_t count : counts) {
    const double share = static_cast<double>(count) / total;
    if (count > 0) entropy -= share * std::log(share);
  }
  return entropy;
}

// Changes whenever the result would.
std::string OptionsFingerprint(const BuildOptions& options, const TokenizerChoice& tokenizer, const std::vector<Input>& inputs) {
  std::string text = absl::StrFormat("%s\n%016x\n%s\n%.17g\n%d", options.tokenizer, HashBytes(tokenizer.model), options.text_field,
                                     options.heldout, options.shard_tokens);
  for (const Input& input : inputs) {
    absl::StrAppend(&text, "\n", input.path, " ", input.bytes, " ", input.modified, " ", input.source);
  }
  return absl::StrFormat("%016x", HashBytes(text));
}

// 53 bits of the hash as a number in [0, 1): the same text lands in the same split in every dataset with this share.
bool IsHeldOut(uint64_t hash, double share) {
  return static_cast<double>(Mix64(hash) >> 11) * 0x1p-53 < share;
}

class Builder {
 public:
  Builder(const BuildOptions& options, TokenizerChoice tokenizer, std::vector<Input> inputs)
      : options_(options), choice_(std::move(tokenizer)), inputs_(std::move(inputs)), parts_(options.output + "/.parts") {
    progress_.files_total = inputs_.size();
    for (const Input& input : inputs_) progress_.bytes_total += input.bytes;
    for (const std::string& path : options.inputs) manifest_.sources.push_back({.path = path});
    for (const Input& input : inputs_) ++manifest_.sources[input.source].files;
    manifest_.options = OptionsFingerprint(options_, choice_, inputs_);
  }

  absl::StatusOr<Manifest> Build() {
    if (absl::StatusOr<Manifest> old = ReadManifest(options_.output); old.ok()) {
      if (old->options != manifest_.options) {
        return absl::AlreadyExistsError(
            absl::StrCat(options_.output, " holds a dataset of other inputs or options; remove it or choose another --out"));
      }
      if (IsSound(*old)) return old;
    }
    POLYMOE_RETURN_IF_ERROR(PrepareFolder());
    POLYMOE_RETURN_IF_ERROR(PrepareTokenizer());
    for (size_t i = 0; i < inputs_.size(); ++i) POLYMOE_RETURN_IF_ERROR(Tokenise(i));
    POLYMOE_RETURN_IF_ERROR(Assemble());
    POLYMOE_RETURN_IF_ERROR(WriteManifest(options_.output, manifest_));
    POLYMOE_RETURN_IF_ERROR(RemoveTree(parts_));
    return manifest_;
  }

 private:
  std::string PartPath(size_t i) const { return absl::StrCat(parts_, "/", absl::Dec(i, absl::kZeroPad6)); }

  bool IsSound(const Manifest& manifest) const {
    for (const auto& [name, split] : manifest.splits) {
      if (!Dataset::Open(options_.output, name).ok()) return false;
    }
    return manifest.tokenizer == "bytes" || PathExists(absl::StrCat(options_.output, "/", kTokenizerModelName));
  }

  // Parts of an earlier, interrupted build are used only if they came from the same options and inputs.
  absl::Status PrepareFolder() {
    const std::string stamp = parts_ + "/options";
    const absl::StatusOr<std::string> earlier = ReadFile(stamp);
    if (earlier.ok() && *earlier == manifest_.options) return absl::OkStatus();
    POLYMOE_RETURN_IF_ERROR(RemoveTree(parts_));
    POLYMOE_RETURN_IF_ERROR(MakeDirectories(parts_));
    return WriteFileDurably(stamp, manifest_.options);
  }

  absl::Status PrepareTokenizer() {
    if (choice_.train_vocab > 0) {
      POLYMOE_ASSIGN_OR_RETURN(choice_.model, TrainOrReuse());
    }
    if (choice_.model.empty()) {
      manifest_.tokenizer = "bytes";
      tokenizer_ = MakeByteTokenizer();
    } else {
      manifest_.tokenizer = "spm";
      POLYMOE_ASSIGN_OR_RETURN(tokenizer_, MakeSentencePieceTokenizer(choice_.model));
      POLYMOE_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(options_.output, "/", kTokenizerModelName), choice_.model));
    }
    manifest_.vocab = tokenizer_->vocab_size();
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> TrainOrReuse() {
    const std::string path = absl::StrCat(parts_, "/", kTokenizerModelName);
    if (absl::StatusOr<std::string> earlier = ReadFile(path); earlier.ok()) return earlier;
    POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> lines,
                             SampleLines(inputs_, options_.text_field, kTokenizerSampleBytes));
    if (lines.empty()) return absl::InvalidArgumentError("the inputs hold no text");
    POLYMOE_ASSIGN_OR_RETURN(std::string model, TrainSentencePiece(lines, choice_.train_vocab));
    POLYMOE_RETURN_IF_ERROR(WriteFileDurably(path, model));
    return model;
  }

  absl::Status ReportProgress() const { return options_.progress ? options_.progress(progress_) : absl::OkStatus(); }

  absl::Status Tokenise(size_t i) {
    const uint64_t before = progress_.bytes_done;
    if (!PathExists(PartPath(i))) {
      POLYMOE_ASSIGN_OR_RETURN(PartWriter writer, PartWriter::Create(PartPath(i), manifest_.vocab));
      PartDocument document;
      const auto add = [&](const std::string& text, uint64_t position) -> absl::Status {
        document.hash = HashBytes(text);
        document.bytes = text.size();
        document.tokens.clear();
        tokenizer_->Encode(text, &document.tokens);
        document.tokens.push_back(tokenizer_->end_of_document());
        ++progress_.documents;
        progress_.tokens += document.tokens.size();
        progress_.bytes_done = before + position;
        POLYMOE_RETURN_IF_ERROR(writer.Add(document));
        return ReportProgress();
      };
      POLYMOE_RETURN_IF_ERROR(ForEachDocument(inputs_[i].path, options_.text_field, add));
      POLYMOE_RETURN_IF_ERROR(writer.Finish());
    }
    ++progress_.files_done;
    progress_.bytes_done = before + inputs_[i].bytes;
    return ReportProgress();
  }

  // A split under construction.
  struct Split {
    SplitInfo info;
    std::vector<uint32_t> pending;
    uint64_t digest = 0;
    std::vector<uint64_t> counts;  // of each token
  };

  absl::Status Assemble() {
    std::unordered_set<uint64_t> seen;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      SourceInfo& source = manifest_.sources[inputs_[i].source];
      POLYMOE_RETURN_IF_ERROR(ReadPart(PartPath(i), manifest_.vocab, [&](const PartDocument& document) -> absl::Status {
        if (!seen.insert(document.hash).second) {
          ++source.duplicates;
          return absl::OkStatus();
        }
        ++source.documents;
        source.tokens += document.tokens.size();
        source.bytes += document.bytes;
        return Add(IsHeldOut(document.hash, options_.heldout) ? "heldout" : "train", document);
      }));
      POLYMOE_RETURN_IF_ERROR(ReportProgress());
    }
    if (splits_.empty()) return absl::InvalidArgumentError("the inputs hold no text");
    for (auto& [name, split] : splits_) {
      POLYMOE_RETURN_IF_ERROR(Flush(name, split));
      split.info.fingerprint = absl::StrFormat("%016x", split.digest);
      split.info.unigram_entropy = Entropy(split.counts);
      manifest_.splits[name] = std::move(split.info);
    }
    return absl::OkStatus();
  }

  absl::Status Add(const std::string& name, const PartDocument& document) {
    Split& split = splits_[name];
    split.pending.insert(split.pending.end(), document.tokens.begin(), document.tokens.end());
    split.info.tokens += document.tokens.size();
    split.info.bytes += document.bytes;
    ++split.info.documents;
    return split.pending.size() >= options_.shard_tokens ? Flush(name, split) : absl::OkStatus();
  }

  // The pending tokens, if any, as the split's next shard.
  absl::Status Flush(const std::string& name, Split& split) {
    if (split.pending.empty()) return absl::OkStatus();
    ShardInfo shard{.file = absl::StrCat(name, "-", absl::Dec(split.info.shards.size(), absl::kZeroPad5), ".tok"),
                    .tokens = split.pending.size()};
    POLYMOE_ASSIGN_OR_RETURN(shard.checksum,
                             WriteShard(absl::StrCat(options_.output, "/", shard.file), split.pending, manifest_.vocab));
    split.counts.resize(manifest_.vocab);
    for (const uint32_t token : split.pending) {
      split.digest = Mix64(split.digest ^ token);
      ++split.counts[token];
    }
    split.info.shards.push_back(std::move(shard));
    split.pending.clear();
    return absl::OkStatus();
  }

  const BuildOptions& options_;
  TokenizerChoice choice_;
  const std::vector<Input> inputs_;
  const std::string parts_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::map<std::string, Split> splits_;
  BuildProgress progress_;
  Manifest manifest_;
};

}  // namespace

absl::StatusOr<Manifest> BuildDataset(const BuildOptions& options) {
  if (!(options.heldout >= 0 && options.heldout <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("the held-out share is ", options.heldout, "; it must be 0 to 1"));
  }
  if (options.shard_tokens == 0) return absl::InvalidArgumentError("a shard must have tokens; the number of tokens a shard is 0");
  POLYMOE_ASSIGN_OR_RETURN(TokenizerChoice tokenizer, ChooseTokenizer(options.tokenizer));
  POLYMOE_ASSIGN_OR_RETURN(std::vector<Input> inputs, FindInputs(options.inputs, options.output));
  return Builder(options, std::move(tokenizer), std::move(inputs)).Build();
}

}  // namespace polymoe
