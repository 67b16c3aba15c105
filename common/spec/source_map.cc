#include "common/spec/source_map.h"

#include "absl/strings/str_cat.h"

namespace polymoe {

absl::Status SourceMap::Error(const std::string& path, absl::string_view what) const {
  const std::string message = absl::StrCat(path, path.empty() ? "" : ": ", what);
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
