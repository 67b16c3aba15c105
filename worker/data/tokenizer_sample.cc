#include "worker/data/tokenizer_sample.h"

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

#include "common/utf8.h"
#include "worker/data/documents.h"

namespace polymoe {
namespace {

constexpr size_t kLineBytes = 2000;

void AddLine(absl::string_view line, std::vector<std::string>& lines) {
  while (line.size() > kLineBytes) {
    const size_t space = line.rfind(' ', kLineBytes);
    const size_t cut = space == absl::string_view::npos || space == 0 ? CharacterBoundary(line, kLineBytes) : space;
    lines.emplace_back(line.substr(0, cut));
    line.remove_prefix(cut);
  }
  lines.emplace_back(line);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SampleLines(const std::vector<Input>& inputs, const std::string& text_field,
                                                     size_t bytes) {
  double total = 0, reached = 0;
  for (const Input& input : inputs) total += static_cast<double>(input.bytes);
  std::vector<std::string> lines;
  double taken = 0;
  for (const Input& input : inputs) {
    reached += static_cast<double>(input.bytes);
    // What an input leaves, the ones after it may take: with many small files every n-th is read.
    const double budget = static_cast<double>(bytes) * reached / total;
    if (taken >= budget) continue;
    const absl::Status status = ForEachDocument(input.path, text_field, [&](const std::string& document, uint64_t) {
      for (const absl::string_view line : absl::StrSplit(document, '\n', absl::SkipWhitespace())) AddLine(line, lines);
      taken += static_cast<double>(document.size());
      return taken < budget ? absl::OkStatus() : absl::OutOfRangeError("enough");
    });
    if (!status.ok() && !absl::IsOutOfRange(status)) return status;
  }
  return lines;
}

}  // namespace polymoe
