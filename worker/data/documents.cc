#include "worker/data/documents.h"

#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <nlohmann/json.hpp>

#include "common/status.h"
#include "worker/data/text_reader.h"

namespace polymoe {
namespace {

using Visitor = std::function<absl::Status(const std::string&)>;

constexpr size_t kDocumentBytes = 16 << 10;
constexpr size_t kLongestDocument = 64 << 10;  // text without blank lines is cut here, at a line if there is one

bool IsJsonLines(absl::string_view path) {
  absl::ConsumeSuffix(&path, ".gz") || absl::ConsumeSuffix(&path, ".zst");
  return absl::EndsWith(path, ".jsonl");
}

absl::Status VisitText(const std::string& text, const Visitor& visit) {
  return absl::StripAsciiWhitespace(text).empty() ? absl::OkStatus() : visit(text);
}

// Where the first document in `buffer` ends, or 0 while that cannot be said yet.
size_t CutText(const std::string& buffer) {
  if (buffer.size() <= kDocumentBytes) return 0;
  if (const size_t blank = buffer.find("\n\n", kDocumentBytes); blank != std::string::npos && blank < kLongestDocument)
    return blank + 2;
  if (buffer.size() < kLongestDocument) return 0;
  const size_t line = buffer.rfind('\n', kLongestDocument);
  return line == std::string::npos ? kLongestDocument : line + 1;
}

absl::Status ReadText(TextReader& reader, const Visitor& visit) {
  std::string buffer;
  for (;;) {
    const size_t before = buffer.size();
    POLYMOE_RETURN_IF_ERROR(reader.Read(&buffer));
    if (buffer.size() == before) break;
    size_t begin = 0;
    // The rest of the buffer is copied once a read, not once a document.
    for (size_t cut; (cut = CutText(buffer.substr(begin, kLongestDocument + 2))) > 0; begin += cut) {
      POLYMOE_RETURN_IF_ERROR(VisitText(buffer.substr(begin, cut), visit));
    }
    buffer.erase(0, begin);
  }
  return VisitText(buffer, visit);
}

absl::Status VisitJson(const std::string& line, const std::string& field, const std::string& where, const Visitor& visit) {
  const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return absl::InvalidArgumentError(absl::StrCat(where, ": not valid JSON"));
  if (!parsed.is_object() || !parsed.contains(field) || !parsed[field].is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": has no text field '", field, "'; name the right one with --text-field"));
  }
  return VisitText(parsed[field].get<std::string>(), visit);
}

absl::Status ReadJsonLines(TextReader& reader, const std::string& path, const std::string& field, const Visitor& visit) {
  std::string buffer;
  size_t number = 0;
  for (bool more = true; more;) {
    const size_t before = buffer.size();
    POLYMOE_RETURN_IF_ERROR(reader.Read(&buffer));
    more = buffer.size() > before;
    if (!more && !buffer.empty() && buffer.back() != '\n') buffer += '\n';
    size_t begin = 0;
    for (size_t end; (end = buffer.find('\n', begin)) != std::string::npos; begin = end + 1) {
      ++number;
      const std::string line = buffer.substr(begin, end - begin);
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      POLYMOE_RETURN_IF_ERROR(VisitJson(line, field, absl::StrCat(path, ":", number), visit));
    }
    buffer.erase(0, begin);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ForEachDocument(const std::string& path, const std::string& text_field, const Visitor& visit) {
  POLYMOE_ASSIGN_OR_RETURN(const std::unique_ptr<TextReader> reader, TextReader::Open(path));
  return IsJsonLines(path) ? ReadJsonLines(*reader, path, text_field, visit) : ReadText(*reader, visit);
}

}  // namespace polymoe
