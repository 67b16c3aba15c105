#include "worker/data/documents.h"

#include <algorithm>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include <nlohmann/json.hpp>

#include "common/status.h"
#include "common/utf8.h"
#include "worker/data/text_reader.h"

namespace polymoe {
namespace {

constexpr size_t kDocumentBytes = 16 << 10;
constexpr size_t kLongestDocument = 64 << 10;        // text without blank lines is cut here, at a line if there is one
constexpr size_t kLookahead = kLongestDocument + 2;  // all that a cut depends on: a blank line's end may lie behind the longest

bool IsJsonLines(absl::string_view path) {
  absl::ConsumeSuffix(&path, ".gz") || absl::ConsumeSuffix(&path, ".zst");
  return absl::EndsWith(path, ".jsonl");
}

absl::Status Visit(absl::string_view text, const TextReader& reader, const DocumentVisitor& visit) {
  return absl::StripAsciiWhitespace(text).empty() ? absl::OkStatus() : visit(std::string(text), reader.position());
}

// Where the first document of `text` ends, or 0 while more text is needed to tell.
size_t CutText(absl::string_view text) {
  text = text.substr(0, kLookahead);
  for (size_t at = kDocumentBytes; (at = text.find('\n', at)) < kLongestDocument; ++at) {
    const absl::string_view next = text.substr(at + 1);
    if (absl::StartsWith(next, "\n")) return at + 2;
    if (absl::StartsWith(next, "\r\n")) return at + 3;
  }
  if (text.size() < kLookahead) return 0;
  const size_t line = text.rfind('\n', kLongestDocument - 1);
  return line == absl::string_view::npos ? CharacterBoundary(text, kLongestDocument) : line + 1;
}

absl::Status ReadText(TextReader& reader, const DocumentVisitor& visit) {
  std::string buffer;
  for (;;) {
    const size_t before = buffer.size();
    POLYMOE_RETURN_IF_ERROR(reader.Read(&buffer));
    if (buffer.size() == before) return Visit(buffer, reader, visit);
    absl::string_view rest = buffer;
    for (size_t cut; (cut = CutText(rest)) > 0; rest.remove_prefix(cut)) {
      POLYMOE_RETURN_IF_ERROR(Visit(rest.substr(0, cut), reader, visit));
    }
    buffer.erase(0, buffer.size() - rest.size());
  }
}

absl::StatusOr<std::string> ParseLine(absl::string_view line, const std::string& field, const std::string& where) {
  const auto parsed = nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": not valid JSON in UTF-8; correct or remove this line"));
  }
  if (!parsed.is_object() || !parsed.contains(field) || !parsed[field].is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": has no text field '", field, "'; name the right one with --text-field"));
  }
  return parsed[field].get<std::string>();
}

absl::Status ReadJsonLines(TextReader& reader, const std::string& path, const std::string& field, const DocumentVisitor& visit) {
  std::string buffer;
  size_t number = 0, searched = 0;  // no line ends in the first `searched` bytes of the buffer: a long line is searched once
  for (bool more = true; more;) {
    const size_t before = buffer.size();
    POLYMOE_RETURN_IF_ERROR(reader.Read(&buffer));
    more = buffer.size() > before;
    if (!more && !buffer.empty()) buffer += '\n';
    size_t begin = 0;
    for (size_t end; (end = buffer.find('\n', std::max(begin, searched))) != std::string::npos; begin = end + 1) {
      ++number;
      const absl::string_view line = absl::string_view(buffer).substr(begin, end - begin);
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      POLYMOE_ASSIGN_OR_RETURN(const std::string text, ParseLine(line, field, absl::StrCat(path, ":", number)));
      POLYMOE_RETURN_IF_ERROR(Visit(text, reader, visit));
    }
    buffer.erase(0, begin);
    searched = buffer.size();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ForEachDocument(const std::string& path, const std::string& text_field, const DocumentVisitor& visit) {
  POLYMOE_ASSIGN_OR_RETURN(const std::unique_ptr<TextReader> reader, TextReader::Open(path));
  return IsJsonLines(path) ? ReadJsonLines(*reader, path, text_field, visit) : ReadText(*reader, visit);
}

}  // namespace polymoe
