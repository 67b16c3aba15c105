#include "worker/train/resume.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

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
  std::string path = IsUrl(text) ? text : std::filesystem::path(text).lexically_normal().string();
  while (path.size() > 1 && absl::EndsWith(path, "/")) path.pop_back();
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(1, slash));
  const std::optional<uint64_t> step =
      ParseCheckpointName(absl::string_view(path).substr(slash == std::string::npos ? 0 : slash + 1));
  if (!step) {
    return absl::InvalidArgumentError(
        absl::StrCat("--resume ", text, " is no checkpoint: give auto, none, or the path of one (", path, "/step-00000100)"));
  }
  return Asked{directory, *step};
}

absl::StatusOr<TrainerState> Load(Storage& storage, const std::string& name, const TrainerState& fresh,
                                  absl::Span<const TensorSlab> slabs) {
  absl::StatusOr<TrainerState> loaded = LoadCheckpoint(storage, name, fresh.model, slabs);
  if (absl::IsInvalidArgument(loaded.status())) {
    return absl::InvalidArgumentError(absl::StrCat(loaded.status().message(), kAnotherRun));
  }
  if (loaded.ok() && loaded->data_order != fresh.data_order) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint ", storage.Where(name),
                                                   " was trained on other data or in another order (", loaded->data_order,
                                                   "; this job has ", fresh.data_order, ")", kAnotherRun));
  }
  return loaded;
}

// The newest of `candidates` (oldest first) that is good. `error` is what is wrong with the one that was wanted, if it is known.
absl::StatusOr<TrainerState> LoadNewest(Storage& storage, const std::vector<CheckpointInfo>& candidates, absl::Status error,
                                        const TrainerState& fresh, absl::Span<const TensorSlab> slabs) {
  for (auto it = candidates.rbegin(); it != candidates.rend(); ++it) {
    if (!error.ok()) LogWarning("checkpoint not usable, trying another one", {{"error", std::string(error.message())}});
    absl::StatusOr<TrainerState> loaded = Load(storage, it->name, fresh, slabs);
    if (!absl::IsDataLoss(loaded.status()) && !absl::IsNotFound(loaded.status())) return loaded;
    error = loaded.status();
  }
  return error;
}

}  // namespace

absl::StatusOr<TrainerState> Resume(const std::string& choice, Storage& storage, const TrainerState& fresh,
                                    absl::Span<const TensorSlab> slabs) {
  if (choice == "none") return fresh;
  if (choice == "auto") {
    POLYMOE_ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> candidates, ListCheckpoints(storage));
    if (candidates.empty()) return fresh;
    return LoadNewest(storage, candidates, absl::OkStatus(), fresh, slabs);
  }
  POLYMOE_ASSIGN_OR_RETURN(const Asked asked, ParsePath(choice));
  POLYMOE_ASSIGN_OR_RETURN(const std::unique_ptr<Storage> theirs, OpenStorage(asked.directory));
  POLYMOE_ASSIGN_OR_RETURN(std::vector<CheckpointInfo> candidates, ListCheckpoints(*theirs));
  // Tried from the end: what was asked for, older ones, then newer ones, the nearest first.
  const auto newer =
      std::stable_partition(candidates.begin(), candidates.end(), [&](const CheckpointInfo& c) { return c.step <= asked.step; });
  std::reverse(newer, candidates.end());
  std::rotate(candidates.begin(), newer, candidates.end());
  absl::Status missing;
  if (candidates.empty() || candidates.back().step != asked.step) {
    missing = absl::NotFoundError(absl::StrCat("there is no complete checkpoint at ", choice));
  }
  return LoadNewest(*theirs, candidates, missing, fresh, slabs);
}

absl::Status SetAsideNewer(Storage& storage, uint64_t step) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> checkpoints, ListCheckpoints(storage));
  for (const CheckpointInfo& checkpoint : checkpoints) {
    if (checkpoint.step <= step) continue;
    POLYMOE_RETURN_IF_ERROR(SetAside(storage, checkpoint.name));
    LogWarning("checkpoint is ahead of where training starts, set aside", {{"path", storage.Where(checkpoint.name)}});
  }
  return absl::OkStatus();
}

}  // namespace polymoe
