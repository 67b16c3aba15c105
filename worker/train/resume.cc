#include "worker/train/resume.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "common/file.h"
#include "common/log.h"
#include "common/status.h"

namespace polymoe {
namespace {

constexpr char kAnotherRun[] = "; train elsewhere (--checkpoint-dir), or from scratch (--resume none)";

// A checkpoint that was asked for by its path.
struct Asked {
  std::string directory;
  uint64_t step;
};

absl::StatusOr<Asked> ParsePath(const std::string& text) {
  std::filesystem::path path = std::filesystem::path(text).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "a/b/" is "a/b"
  const std::string name = path.filename().string(), directory = path.parent_path().string();
  absl::string_view number = name;
  uint64_t step;
  if (!absl::ConsumePrefix(&number, "step-") || !absl::SimpleAtoi(number, &step)) {
    return absl::InvalidArgumentError(absl::StrCat("--resume ", text, " is no checkpoint: give auto, none, or the path of one (",
                                                   path.string(), "/step-00000100)"));
  }
  return Asked{directory.empty() ? "." : directory, step};
}

absl::StatusOr<TrainerState> Load(const std::string& path, const TrainerState& fresh, absl::Span<const TensorRef> tensors) {
  absl::StatusOr<TrainerState> loaded = LoadCheckpoint(path, fresh.model, tensors);
  if (absl::IsInvalidArgument(loaded.status())) {
    return absl::InvalidArgumentError(absl::StrCat(loaded.status().message(), kAnotherRun));
  }
  if (loaded.ok() && loaded->data_order != fresh.data_order) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint ", path, " was trained on other data or in another order (",
                                                   loaded->data_order, "; this job has ", fresh.data_order, ")", kAnotherRun));
  }
  return loaded;
}

// The newest of `candidates` (oldest first) that is good. `error` is what is wrong with the one that was wanted, if it is known.
absl::StatusOr<TrainerState> LoadNewest(const std::vector<CheckpointInfo>& candidates, absl::Status error,
                                        const TrainerState& fresh, absl::Span<const TensorRef> tensors) {
  for (auto it = candidates.rbegin(); it != candidates.rend(); ++it) {
    if (!error.ok()) LogWarning("checkpoint not usable, trying another one", {{"error", std::string(error.message())}});
    absl::StatusOr<TrainerState> loaded = Load(it->path, fresh, tensors);
    if (loaded.ok() || absl::IsInvalidArgument(loaded.status())) return loaded;
    error = loaded.status();
  }
  return error;
}

}  // namespace

absl::StatusOr<TrainerState> Resume(const std::string& choice, const std::string& directory, const TrainerState& fresh,
                                    absl::Span<const TensorRef> tensors) {
  if (choice == "none") return fresh;
  if (choice == "auto") {
    POLYMOE_ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> candidates, ListCheckpoints(directory));
    if (candidates.empty()) return fresh;
    return LoadNewest(candidates, absl::OkStatus(), fresh, tensors);
  }
  POLYMOE_ASSIGN_OR_RETURN(const Asked asked, ParsePath(choice));
  POLYMOE_ASSIGN_OR_RETURN(std::vector<CheckpointInfo> candidates, ListCheckpoints(asked.directory));
  // Tried from the end: what was asked for, older ones, then newer ones, the nearest first.
  const auto newer =
      std::stable_partition(candidates.begin(), candidates.end(), [&](const CheckpointInfo& c) { return c.step <= asked.step; });
  std::reverse(newer, candidates.end());
  std::rotate(candidates.begin(), newer, candidates.end());
  absl::Status missing;
  if (candidates.empty() || candidates.back().step != asked.step) {
    missing = absl::NotFoundError(absl::StrCat("there is no complete checkpoint at ", choice));
  }
  return LoadNewest(candidates, missing, fresh, tensors);
}

absl::Status SetAsideNewer(const std::string& directory, uint64_t step) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> checkpoints, ListCheckpoints(directory));
  for (const CheckpointInfo& checkpoint : checkpoints) {
    if (checkpoint.step <= step) continue;
    const std::string aside = checkpoint.path + ".superseded";
    POLYMOE_RETURN_IF_ERROR(RemoveTree(aside));  // of an earlier time
    if (std::rename(checkpoint.path.c_str(), aside.c_str()) != 0) return ErrnoStatus(errno, "rename to", aside);
    LogWarning("checkpoint is ahead of where training starts, set aside", {{"path", aside}});
  }
  return absl::OkStatus();
}

}  // namespace polymoe
