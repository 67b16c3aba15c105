// polymoe-dataset: builds tokenised datasets and shows them. `polyctl dataset` runs it.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <CLI/CLI.hpp>

#include "common/clock.h"
#include "common/units.h"
#include "common/version.h"
#include "worker/data/builder.h"

namespace polymoe {
namespace {

constexpr char kBuildFooter[] = R"(Examples:
  polyctl dataset build --input corpus/ --out data/corpus --tokenizer train-spm:16384
  polyctl dataset build --input a.jsonl.zst b.jsonl.gz --text-field content --out data/web --tokenizer spm:data/corpus/tokenizer.model
  polyctl dataset build --input far-domain/ --out data/far --tokenizer bytes --heldout 1

Text files (.gz and .zst too) are cut at blank lines into documents of about 16 KiB; .jsonl has one document a line.
A build that was interrupted goes on where it stopped when it is run again.)";

std::atomic<bool> interrupted = false;

int Fail(const absl::Status& status) {
  absl::FPrintF(stderr, "polymoe-dataset: %s\n", std::string(status.message()));
  return absl::IsInvalidArgument(status) ? 2
         : absl::IsNotFound(status)      ? 3
         : absl::IsAlreadyExists(status) ? 5
         : absl::IsCancelled(status)     ? 130
                                         : 1;
}

// A bar that is rewritten in place on a terminal, and is silent elsewhere.
class ProgressBar {
 public:
  void Show(const BuildProgress& p) {
    const absl::Duration now = Clock::Real().Monotonic();
    if (!terminal_ || now - shown_ < absl::Milliseconds(100)) return;
    shown_ = now;
    constexpr int kWidth = 30;
    const double share = p.bytes_total == 0 ? 1 : static_cast<double>(p.bytes_done) / static_cast<double>(p.bytes_total);
    const double seconds = absl::ToDoubleSeconds(now - start_);
    std::string bar(kWidth, ' ');
    std::fill_n(bar.begin(), static_cast<int>(share * kWidth), '=');
    absl::FPrintF(stderr, "\r\033[K[%s] %3.0f%%  %d/%d files  %s documents  %s tokens  %s/s  ETA %s", bar, 100 * share,
                  p.files_done, p.files_total, FormatCount(static_cast<double>(p.documents)),
                  FormatCount(static_cast<double>(p.tokens)), FormatBytes(static_cast<double>(p.bytes_done) / seconds),
                  share > 0 ? ShortDuration(absl::Seconds(seconds / share - seconds)) : "?");
    open_ = true;
  }
  void End() {
    if (open_) absl::FPrintF(stderr, "\r\033[K");
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO);
  const absl::Duration start_ = Clock::Real().Monotonic();
  absl::Duration shown_ = -absl::InfiniteDuration();
  bool open_ = false;
};

void Print(const std::string& directory, const Manifest& manifest) {
  absl::PrintF("dataset     %s\ntokenizer   %s, vocabulary %d\n\n", directory, manifest.tokenizer, manifest.vocab);
  absl::PrintF("%-8s %10s %12s %12s %11s %12s %7s  %s\n", "SPLIT", "DOCUMENTS", "TOKENS", "BYTES", "BYTES/TOKEN", "UNIGRAM NATS",
               "SHARDS", "FINGERPRINT");
  for (const auto& [name, split] : manifest.splits) {
    absl::PrintF("%-8s %10d %12d %12d %11.2f %12.4f %7d  %s\n", name, split.documents, split.tokens, split.bytes,
                 static_cast<double>(split.bytes) / static_cast<double>(split.tokens), split.unigram_entropy, split.shards.size(),
                 split.fingerprint);
  }
  absl::PrintF("\n%8s %10s %12s %12s %10s  %s\n", "FILES", "DOCUMENTS", "TOKENS", "BYTES", "DUPLICATES", "SOURCE");
  for (const SourceInfo& source : manifest.sources) {
    absl::PrintF("%8d %10d %12d %12d %10d  %s\n", source.files, source.documents, source.tokens, source.bytes, source.duplicates,
                 source.path);
  }
}

int Build(BuildOptions options) {
  signal(SIGINT, [](int) { interrupted = true; });
  ProgressBar bar;
  options.progress = [&bar](const BuildProgress& progress) {
    bar.Show(progress);
    return interrupted ? absl::CancelledError("interrupted; run the same command again to go on") : absl::OkStatus();
  };
  const absl::StatusOr<Manifest> manifest = BuildDataset(options);
  bar.End();
  if (!manifest.ok()) return Fail(manifest.status());
  Print(options.output, *manifest);
  return 0;
}

int Info(const std::string& directory) {
  const absl::StatusOr<Manifest> manifest = ReadManifest(directory);
  if (!manifest.ok()) return Fail(manifest.status());
  Print(directory, *manifest);
  return 0;
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  polymoe::BuildOptions options;
  std::string directory;
  CLI::App app("Tokenised datasets for training.", "polymoe-dataset");
  app.set_version_flag("--version", polymoe::kVersion);
  app.require_subcommand(1);
  CLI::App* build = app.add_subcommand("build", "make a dataset from text");
  build->footer(polymoe::kBuildFooter);
  build->add_option("--input", options.inputs, "text files or folders (.gz, .zst and .jsonl too)")
      ->required()
      ->type_name("PATH...");
  build->add_option("--out", options.output, "folder to make")->required()->type_name("DIR");
  build->add_option("--tokenizer", options.tokenizer, "bytes, spm:MODEL_FILE or train-spm:VOCAB")->capture_default_str();
  build->add_option("--heldout", options.heldout, "share of documents kept out of training, chosen by their hash")
      ->capture_default_str();
  build->add_option("--text-field", options.text_field, "field of JSON lines")->capture_default_str();
  CLI::App* info = app.add_subcommand("info", "show what a dataset holds");
  info->add_option("directory", directory, "dataset")->required()->type_name("DIR");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return build->parsed() ? polymoe::Build(options) : polymoe::Info(directory);
}
