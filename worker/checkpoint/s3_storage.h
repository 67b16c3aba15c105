// Storage in a bucket. Objects up to S3Config::part_bytes are put in one request, larger ones in parts. Create needs a store that knows
// `If-None-Match: *` (Amazon, MinIO, Ceph); with one that ignores it, of two that create an object at the same time both succeed.
#ifndef POLYMOE_WORKER_CHECKPOINT_S3_STORAGE_H_
#define POLYMOE_WORKER_CHECKPOINT_S3_STORAGE_H_

#include <memory>
#include <string>
#include <vector>

#include "worker/checkpoint/s3_client.h"
#include "worker/checkpoint/storage.h"

namespace polymoe {

inline constexpr char kS3Scheme[] = "s3://";

// INVALID_ARGUMENT unless `root` is s3://BUCKET or s3://BUCKET/PREFIX, without a '+'. Sends nothing yet.
absl::StatusOr<std::unique_ptr<Storage>> OpenS3Storage(const std::string& root, const S3Config& config);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_S3_STORAGE_H_
