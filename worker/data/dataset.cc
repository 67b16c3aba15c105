#include "worker/data/dataset.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/status.h"
#include "worker/data/manifest.h"

namespace polymoe {

absl::StatusOr<Dataset> Dataset::Open(const std::string& directory, const std::string& split) {
  POLYMOE_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  const auto it = manifest.splits.find(split);
  if (it == manifest.splits.end()) {
    return absl::NotFoundError(absl::StrCat(directory, " has no split '", split, "'; `polyctl dataset info` lists its splits"));
  }
  Dataset dataset;
  for (const std::string& name : it->second.shards) {
    POLYMOE_ASSIGN_OR_RETURN(Shard shard, Shard::Open(absl::StrCat(directory, "/", name)));
    dataset.ends_.push_back(dataset.tokens() + shard.tokens());
    dataset.shards_.push_back(std::move(shard));
  }
  if (dataset.tokens() != it->second.tokens) {
    return absl::DataLossError(absl::StrCat(directory, ": split ", split, " has ", dataset.tokens(),
                                            " tokens where the manifest promises ", it->second.tokens,
                                            "; rebuild it with `polyctl dataset build`"));
  }
  dataset.bytes_ = it->second.bytes;
  dataset.vocab_ = manifest.vocab;
  dataset.fingerprint_ = it->second.fingerprint;
  return dataset;
}

void Dataset::Read(uint64_t begin, absl::Span<int32_t> out) const {
  POLYMOE_CHECK(begin + out.size() <= tokens(), "read of %zu tokens past the end", out.size());
  size_t shard = std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin();
  for (size_t done = 0; done < out.size(); ++shard) {
    const uint64_t start = shard == 0 ? 0 : ends_[shard - 1], offset = begin + done - start;
    const size_t count = std::min<uint64_t>(out.size() - done, ends_[shard] - start - offset);
    for (size_t i = 0; i < count; ++i) out[done + i] = static_cast<int32_t>(shards_[shard][offset + i]);
    done += count;
  }
}

}  // namespace polymoe
