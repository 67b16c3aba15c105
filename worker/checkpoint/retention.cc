#include "worker/checkpoint/retention.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "common/status.h"
#include "worker/checkpoint/format.h"

namespace polymoe {
namespace {

absl::Status Remove(Storage& storage, const std::string& name) {
  // The marker goes first: a removal that is interrupted leaves nothing that looks whole.
  POLYMOE_RETURN_IF_ERROR(storage.Delete(absl::StrCat(name, "/", kCommitted)));
  return storage.DeleteFolder(name);
}

// In the folder of a step: what attempts up to `attempt` wrote and did not commit. A checkpoint that was set aside stays until its step is
// committed anew.
absl::Status RemoveLeftovers(Storage& storage, const std::string& name, uint32_t attempt) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> entries, storage.List(name));
  const auto has = [&](const char* entry) { return std::find(entries.begin(), entries.end(), entry) != entries.end(); };
  // As a removal that was interrupted leaves it: there is nothing to remove but the folder itself.
  if (entries.empty()) return storage.DeleteFolder(absl::StrCat(name, "/", AttemptName(attempt)));
  std::string committed;
  if (has(kCommitted)) {
    POLYMOE_ASSIGN_OR_RETURN(const std::string text, storage.Get(absl::StrCat(name, "/", kCommitted)));
    POLYMOE_ASSIGN_OR_RETURN(const Marker marker, MarkerFromText(text));
    committed = AttemptName(marker.attempt);
    POLYMOE_RETURN_IF_ERROR(storage.Delete(absl::StrCat(name, "/", kSuperseded)));
  } else if (has(kSuperseded)) {
    return absl::OkStatus();
  }
  for (const std::string& entry : entries) {
    const std::string child(absl::StripSuffix(entry, "/")), path = absl::StrCat(name, "/", child);
    const std::optional<uint32_t> theirs = ParseAttemptName(child);
    if (theirs && *theirs <= attempt && child != committed) POLYMOE_RETURN_IF_ERROR(storage.DeleteFolder(path));
    if (absl::StartsWith(entry, absl::StrCat(kCommitted, "."))) POLYMOE_RETURN_IF_ERROR(storage.Delete(path));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<CheckpointInfo> Superfluous(absl::Span<const CheckpointInfo> checkpoints, const Retention& retention) {
  std::vector<CheckpointInfo> good;
  std::copy_if(checkpoints.begin(), checkpoints.end(), std::back_inserter(good),
               [](const auto& c) { return c.tokens.has_value(); });
  std::vector<CheckpointInfo> superfluous;
  uint64_t multiples = 0;  // that lie behind the checkpoints so far
  for (size_t i = 0; i < good.size(); ++i) {
    const uint64_t reached = retention.keep_every == 0 ? 0 : *good[i].tokens / retention.keep_every;
    const bool first_past_one = reached > multiples, newest = good.size() - i <= std::max<uint32_t>(1, retention.keep_last);
    multiples = std::max(multiples, reached);
    if (!first_past_one && !newest) superfluous.push_back(good[i]);
  }
  return superfluous;
}

absl::Status Prune(Storage& storage, const Retention& retention, uint64_t step, uint32_t attempt) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> checkpoints, ListCheckpoints(storage));
  for (const CheckpointInfo& checkpoint : Superfluous(checkpoints, retention)) {
    if (checkpoint.step < step) POLYMOE_RETURN_IF_ERROR(Remove(storage, checkpoint.name));
  }
  // Leftovers are beside no marker, or beside this one or the one before, whose commit may have been interrupted.
  std::vector<uint64_t> clean;
  for (const CheckpointInfo& checkpoint : checkpoints) {
    if (checkpoint.step < step) clean.push_back(checkpoint.step);
  }
  if (!clean.empty()) clean.pop_back();
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage.List(""));
  for (const std::string& entry : names) {
    const std::string name(absl::StripSuffix(entry, "/"));
    const std::optional<uint64_t> other = ParseCheckpointName(name);
    if (!other || *other > step || std::binary_search(clean.begin(), clean.end(), *other)) continue;
    POLYMOE_RETURN_IF_ERROR(RemoveLeftovers(storage, name, attempt));
  }
  return absl::OkStatus();
}

}  // namespace polymoe
