#include "worker/checkpoint/storage.h"

#include <utility>

#include "absl/strings/match.h"

#include "common/status.h"
#include "worker/checkpoint/local_storage.h"
#include "worker/checkpoint/s3_storage.h"

namespace polymoe {

absl::StatusOr<std::unique_ptr<Storage>> OpenStorage(const std::string& root) {
  if (!absl::StartsWith(root, kS3Scheme)) return std::make_unique<LocalStorage>(root);
  POLYMOE_ASSIGN_OR_RETURN(const S3Config config, S3ConfigFromEnvironment());
  return OpenS3Storage(root, config);
}

}  // namespace polymoe
