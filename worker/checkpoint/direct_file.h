// Files past the page cache (O_DIRECT, open(2)): filling the cache with gigabytes that nobody reads again takes several times the CPU time
// of the transfer, which training then lacks.
#ifndef POLYMOE_WORKER_CHECKPOINT_DIRECT_FILE_H_
#define POLYMOE_WORKER_CHECKPOINT_DIRECT_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace polymoe {

// Writes `path` anew from the joined pieces and fsyncs it. Where the file system has no direct writes, through the page cache.
absl::Status WriteFileDirectly(const std::string& path, absl::Span<const absl::string_view> pieces);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_DIRECT_FILE_H_
