#include "worker/data/inputs.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/match.h"

#include "common/file.h"
#include "common/status.h"

namespace polymoe {
namespace {

namespace fs = std::filesystem;

absl::Status AddFile(const fs::path& path, size_t source, std::vector<Input>& inputs) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) return ErrnoStatus(error.value(), "read", path.string());
  const fs::file_time_type modified = fs::last_write_time(path, error);
  if (error) return ErrnoStatus(error.value(), "read", path.string());
  inputs.push_back({path.string(), size, modified.time_since_epoch().count(), source});
  return absl::OkStatus();
}

absl::Status AddFolder(const fs::path& folder, const fs::path& output, size_t source, std::vector<Input>& inputs) {
  std::error_code error;
  fs::recursive_directory_iterator it(folder, error), end;
  for (; !error && it != end; it.increment(error)) {
    std::error_code unknown;  // of a link to nowhere: neither a folder nor a file
    const fs::path& path = it->path();
    const bool hidden = absl::StartsWith(path.filename().string(), ".");
    if (it->is_directory(unknown)) {
      if (hidden || fs::equivalent(path, output, unknown)) it.disable_recursion_pending();
    } else if (!hidden && it->is_regular_file(unknown)) {
      POLYMOE_RETURN_IF_ERROR(AddFile(path, source, inputs));
    }
  }
  return error ? ErrnoStatus(error.value(), "list all of", folder.string()) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Input>> FindInputs(const std::vector<std::string>& sources, const std::string& output) {
  std::vector<Input> inputs;
  for (size_t i = 0; i < sources.size(); ++i) {
    std::error_code error;
    POLYMOE_RETURN_IF_ERROR(fs::is_directory(sources[i], error) ? AddFolder(sources[i], output, i, inputs)
                                                                : AddFile(sources[i], i, inputs));
  }
  std::stable_sort(inputs.begin(), inputs.end(), [](const Input& a, const Input& b) { return a.path < b.path; });
  inputs.erase(std::unique(inputs.begin(), inputs.end(), [](const Input& a, const Input& b) { return a.path == b.path; }),
               inputs.end());
  if (inputs.empty()) {
    return absl::InvalidArgumentError("there are no input files; give text, .gz, .zst or .jsonl files with --input");
  }
  return inputs;
}

}  // namespace polymoe
