#include "worker/daemon/line_splitter.h"

#include <utility>

#include "common/utf8.h"

namespace polymoe {
namespace {

// Where to cut a line that is too long: at kMaxLineBytes, or up to 3 bytes before it, where a character starts.
size_t CutPosition(absl::string_view line) {
  const size_t cut = CharacterBoundary(line, LineSplitter::kMaxLineBytes);
  return IsContinuation(line[cut]) ? LineSplitter::kMaxLineBytes : cut;  // the former: no UTF-8
}

}  // namespace

std::vector<std::string> LineSplitter::Feed(absl::string_view bytes) {
  std::vector<std::string> lines;
  pending_.append(bytes.data(), bytes.size());
  size_t start = 0;
  while (true) {
    const absl::string_view rest = absl::string_view(pending_).substr(start);
    const size_t newline = rest.find('\n');
    const size_t length = newline == absl::string_view::npos ? rest.size() : newline;
    if (length > kMaxLineBytes) {
      const size_t cut = CutPosition(rest);
      lines.emplace_back(rest.substr(0, cut));
      start += cut;
      continue;
    }
    if (newline == absl::string_view::npos) break;
    const bool carriage_return = length > 0 && rest[length - 1] == '\r';
    lines.emplace_back(rest.substr(0, length - carriage_return));
    start += length + 1;
  }
  pending_.erase(0, start);
  return lines;
}

std::vector<std::string> LineSplitter::Finish() {
  if (pending_.empty()) return {};
  return {std::exchange(pending_, {})};
}

}  // namespace polymoe
