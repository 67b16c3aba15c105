#include "worker/train/meeting.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/status.h"
#include "worker/parallel/coordinator_key_value.h"
#include "worker/parallel/folder_key_value.h"
#include "worker/parallel/gloo_transport.h"

namespace polymoe {
namespace {

absl::StatusOr<std::unique_ptr<KeyValue>> OpenKeys(const MeetingOptions& options) {
  if (!options.folder.empty()) return std::make_unique<FolderKeyValue>(options.folder);
  if (!options.server.empty()) return OpenCoordinatorKeyValue(options.server, options.job, options.attempt);
  return absl::InvalidArgumentError(
      absl::StrCat(options.world_size, " ranks need a place to meet: give each the same --rendezvous-dir, or submit the job"));
}

}  // namespace

absl::StatusOr<Ranks> MeetRanks(const MeetingOptions& options) {
  if (options.rank >= options.world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rank ", options.rank, " is not one of ", options.world_size, "; ranks count from 0"));
  }
  const auto expert_parallel = static_cast<int>(options.expert_parallel);
  if (options.world_size == 1) return MakeRanks(nullptr, expert_parallel, options.deadline);
  POLYMOE_ASSIGN_OR_RETURN(const std::unique_ptr<KeyValue> keys, OpenKeys(options));
  absl::StatusOr<std::unique_ptr<Transport>> transport = ConnectRanks({.world_size = static_cast<int>(options.world_size),
                                                                       .rank = static_cast<int>(options.rank),
                                                                       .bind = options.bind,
                                                                       .deadline = options.deadline},
                                                                      *keys);
  if (absl::IsFailedPrecondition(transport.status())) return absl::AbortedError(transport.status().message());
  POLYMOE_RETURN_IF_ERROR(transport.status());
  return MakeRanks(*std::move(transport), expert_parallel, options.deadline);
}

}  // namespace polymoe
