#include "worker/data/builder.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "common/file.h"
#include "common/status.h"
#include "worker/data/documents.h"
#include "worker/data/hash.h"
#include "worker/data/part.h"
#include "worker/data/shard.h"
#include "worker/data/tokenizer.h"

namespace polymoe {
namespace {

namespace fs = std::filesystem;

struct Input {
  std::string path;
  uint64_t bytes;
};

constexpr size_t kTrainingLines = 200'000;  // of the tokenizer
constexpr size_t kTrainingBytes = 8 << 20;
constexpr size_t kTrainingLineBytes = 2000;  // SentencePiece passes over longer ones

absl::Status AddInput(const fs::path& path, std::vector<Input>& inputs) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) return ErrnoStatus(error.value(), "read", path.string());
  inputs.push_back({path.string(), size});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Input>> FindInputs(const std::vector<std::string>& paths) {
  std::vector<Input> inputs;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      POLYMOE_RETURN_IF_ERROR(AddInput(path, inputs));
      continue;
    }
    fs::recursive_directory_iterator it(path, error), end;
    for (; !error && it != end; it.increment(error)) {
      if (it->path().filename().string().front() == '.') {
        if (it->is_directory()) it.disable_recursion_pending();
      } else if (it->is_regular_file()) {
        POLYMOE_RETURN_IF_ERROR(AddInput(it->path(), inputs));
      }
    }
    if (error) return ErrnoStatus(error.value(), "list", path);
  }
  std::sort(inputs.begin(), inputs.end(), [](const Input& a, const Input& b) { return a.path < b.path; });
  if (inputs.empty())
    return absl::InvalidArgumentError("there are no input files; give text, .gz, .zst or .jsonl files with --input");
  return inputs;
}

// Changes whenever the result would.
std::string OptionsFingerprint(const BuildOptions& options, const std::vector<Input>& inputs) {
  std::string text = absl::StrCat(options.tokenizer, "\n", options.text_field, "\n", options.heldout, "\n", options.shard_tokens);
  for (const Input& input : inputs) absl::StrAppend(&text, "\n", input.path, " ", input.bytes);
  return absl::StrFormat("%016x", HashBytes(text));
}

class Builder {
 public:
  Builder(const BuildOptions& options, std::vector<Input> inputs)
      : options_(options), inputs_(std::move(inputs)), parts_(options.output + "/.parts") {
    progress_.files_total = inputs_.size();
    for (const Input& input : inputs_) progress_.bytes_total += input.bytes;
  }

  absl::StatusOr<Manifest> Build() {
    manifest_.options = OptionsFingerprint(options_, inputs_);
    if (const absl::StatusOr<Manifest> old = ReadManifest(options_.output); old.ok()) {
      if (old->options == manifest_.options) return old;
      return absl::AlreadyExistsError(
          absl::StrCat(options_.output, " holds a dataset of other inputs or options; remove it or choose another --out"));
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
    absl::string_view spec = options_.tokenizer;
    manifest_.tokenizer = "spm";
    uint32_t vocab = 0;
    std::string model;
    if (spec == "bytes") {
      manifest_.tokenizer = "bytes";
      tokenizer_ = MakeByteTokenizer();
    } else if (absl::ConsumePrefix(&spec, "spm:")) {
      POLYMOE_ASSIGN_OR_RETURN(model, ReadFile(std::string(spec)));
    } else if (absl::ConsumePrefix(&spec, "train-spm:") && absl::SimpleAtoi(spec, &vocab)) {
      POLYMOE_ASSIGN_OR_RETURN(model, TrainOrReuse(vocab));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer '", options_.tokenizer, "' is not known; write bytes, spm:MODEL_FILE or train-spm:VOCAB"));
    }
    if (tokenizer_ == nullptr) {
      POLYMOE_ASSIGN_OR_RETURN(tokenizer_, MakeSentencePieceTokenizer(model));
      POLYMOE_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(options_.output, "/", kTokenizerModelName), model));
    }
    manifest_.vocab = tokenizer_->vocab_size();
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> TrainOrReuse(uint32_t vocab) {
    const std::string path = parts_ + "/tokenizer.model";
    if (absl::StatusOr<std::string> earlier = ReadFile(path); earlier.ok()) return earlier;
    POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> lines, SampleLines());
    POLYMOE_ASSIGN_OR_RETURN(std::string model, TrainSentencePiece(lines, vocab));
    POLYMOE_RETURN_IF_ERROR(WriteFileDurably(path, model));
    return model;
  }

  // The same share of every input, from its start, up to the limits.
  absl::StatusOr<std::vector<std::string>> SampleLines() {
    std::vector<std::string> lines;
    const double share = std::min(1.0, static_cast<double>(kTrainingBytes) / std::max<uint64_t>(1, progress_.bytes_total));
    for (const Input& input : inputs_) {
      const size_t budget = static_cast<size_t>(share * input.bytes) + kTrainingLineBytes;
      size_t taken = 0;
      const absl::Status status = ForEachDocument(input.path, options_.text_field, [&](const std::string& document) {
        for (const absl::string_view line : absl::StrSplit(document, '\n', absl::SkipWhitespace())) {
          if (line.size() <= kTrainingLineBytes && lines.size() < kTrainingLines) lines.emplace_back(line);
          taken += line.size();
        }
        return taken < budget ? absl::OkStatus() : absl::OutOfRangeError("enough");
      });
      if (!status.ok() && !absl::IsOutOfRange(status)) return status;
    }
    return lines;
  }

  absl::Status Tokenise(size_t i) {
    if (!PathExists(PartPath(i))) {
      POLYMOE_ASSIGN_OR_RETURN(PartWriter writer, PartWriter::Create(PartPath(i)));
      PartDocument document;
      POLYMOE_RETURN_IF_ERROR(ForEachDocument(inputs_[i].path, options_.text_field, [&](const std::string& text) -> absl::Status {
        document.hash = HashBytes(text);
        document.bytes = text.size();
        document.tokens.clear();
        tokenizer_->Encode(text, &document.tokens);
        document.tokens.push_back(tokenizer_->end_of_document());
        ++progress_.documents;
        progress_.tokens += document.tokens.size();
        POLYMOE_RETURN_IF_ERROR(writer.Add(document));
        return options_.progress ? options_.progress(progress_) : absl::OkStatus();
      }));
      POLYMOE_RETURN_IF_ERROR(writer.Finish());
    }
    ++progress_.files_done;
    progress_.bytes_done += inputs_[i].bytes;
    return options_.progress ? options_.progress(progress_) : absl::OkStatus();
  }

  // A split under construction.
  struct Split {
    SplitInfo info;
    std::vector<uint32_t> pending;
    uint64_t digest = 0;
  };

  absl::Status Assemble() {
    std::map<std::string, Split> splits;
    std::unordered_set<uint64_t> seen;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      POLYMOE_RETURN_IF_ERROR(ReadPart(PartPath(i), [&](const PartDocument& document) -> absl::Status {
        if (!seen.insert(document.hash).second) {
          ++manifest_.duplicates;
          return absl::OkStatus();
        }
        // 53 bits of the hash as a number in [0, 1): the same text always lands in the same split.
        const bool heldout = static_cast<double>(Mix64(document.hash) >> 11) * 0x1p-53 < options_.heldout;
        const std::string name = heldout ? "heldout" : "train";
        Split& split = splits[name];
        split.pending.insert(split.pending.end(), document.tokens.begin(), document.tokens.end());
        split.info.tokens += document.tokens.size();
        split.info.bytes += document.bytes;
        ++split.info.documents;
        return split.pending.size() >= options_.shard_tokens ? Flush(name, split) : absl::OkStatus();
      }));
    }
    if (splits.empty()) return absl::InvalidArgumentError("the inputs hold no text");
    for (auto& [name, split] : splits) {
      if (!split.pending.empty()) POLYMOE_RETURN_IF_ERROR(Flush(name, split));
      split.info.fingerprint = absl::StrFormat("%016x", split.digest);
      manifest_.splits[name] = std::move(split.info);
    }
    return absl::OkStatus();
  }

  absl::Status Flush(const std::string& name, Split& split) {
    const std::string file = absl::StrCat(name, "-", absl::Dec(split.info.shards.size(), absl::kZeroPad5), ".tok");
    POLYMOE_RETURN_IF_ERROR(WriteShard(absl::StrCat(options_.output, "/", file), split.pending, manifest_.vocab));
    for (const uint32_t token : split.pending) split.digest = Mix64(split.digest ^ token);
    split.info.shards.push_back(file);
    split.pending.clear();
    return absl::OkStatus();
  }

  const BuildOptions& options_;
  const std::vector<Input> inputs_;
  const std::string parts_;
  std::unique_ptr<Tokenizer> tokenizer_;
  BuildProgress progress_;
  Manifest manifest_;
};

}  // namespace

absl::StatusOr<Manifest> BuildDataset(const BuildOptions& options) {
  if (!(options.heldout >= 0 && options.heldout <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("the held-out share is ", options.heldout, "; it must be 0 to 1"));
  }
  POLYMOE_ASSIGN_OR_RETURN(std::vector<Input> inputs, FindInputs(options.inputs));
  return Builder(options, std::move(inputs)).Build();
}

}  // namespace polymoe
