#include "common/spec/source_map.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace polymoe {

SourceMap SourceMap::Renamed(std::vector<std::pair<std::string, std::string>> prefixes, std::string note) const {
  SourceMap renamed = *this;
  renamed.renamed_ = std::move(prefixes);
  renamed.note_ = std::move(note);
  return renamed;
}

absl::Status SourceMap::Error(const std::string& path_there, absl::string_view what) const {
  std::string path = path_there;
  for (const auto& [from, to] : renamed_) {
    if (path != from && !absl::StartsWith(path, from + ".") && !absl::StartsWith(path, from + "[")) continue;
    path.replace(0, from.size(), to);
    break;
  }
  const std::string message = absl::StrCat(path, path.empty() ? "" : ": ", what, note_);
  if (file_.empty()) return absl::InvalidArgumentError(message);
  for (std::string prefix = path;;) {
    if (const auto it = places_.find(prefix); it != places_.end()) {
      return absl::InvalidArgumentError(absl::StrCat(file_, ":", it->second.line, ":", it->second.column, ": ", message));
    }
    const size_t cut = prefix.find_last_of(".[");
    if (cut == std::string::npos) return absl::InvalidArgumentError(absl::StrCat(file_, ": ", message));
    prefix.resize(cut);
  }
}

}  // namespace polymoe
