#include "worker/checkpoint/storage.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/status.h"
#include "worker/checkpoint/local_storage.h"
#include "worker/checkpoint/s3_storage.h"

namespace polymoe {

absl::Status Storage::DeleteFolder(const std::string& folder) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, List(folder));
  for (const std::string& name : names) {
    const std::string child = absl::StrCat(folder, "/", name);
    if (absl::EndsWith(name, "/")) {
      POLYMOE_RETURN_IF_ERROR(DeleteFolder(child.substr(0, child.size() - 1)));
    } else {
      POLYMOE_RETURN_IF_ERROR(Delete(child));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Storage>> OpenStorage(const std::string& root) {
  if (!absl::StartsWith(root, kS3Scheme)) return std::make_unique<LocalStorage>(root);
  POLYMOE_ASSIGN_OR_RETURN(const S3Config config, S3ConfigFromEnvironment());
  return OpenS3Storage(root, config);
}

}  // namespace polymoe
