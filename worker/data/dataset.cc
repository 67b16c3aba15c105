#include "worker/data/dataset.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/status.h"
#include "worker/data/manifest.h"

namespace polymoe {

namespace {

absl::StatusOr<Shard> OpenShard(const std::string& path, const ShardInfo& info, uint32_t vocab) {
  POLYMOE_ASSIGN_OR_RETURN(Shard shard, Shard::Open(path));
  if (shard.tokens() != info.tokens || shard.checksum() != info.checksum || shard.vocab() != vocab) {
    return absl::DataLossError(absl::StrCat(path, " is not the shard that ", kManifestName, " describes", kRebuildHint));
  }
  return shard;
}

}  // namespace

absl::StatusOr<Dataset> Dataset::Open(const std::string& directory, const std::string& split) {
  POLYMOE_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  const auto it = manifest.splits.find(split);
  if (it == manifest.splits.end()) {
    return absl::NotFoundError(absl::StrCat(directory, " has no split '", split, "'; `polyctl dataset info` lists its splits"));
  }
  const SplitInfo& info = it->second;
  Dataset dataset;
  for (const ShardInfo& expected : info.shards) {
    POLYMOE_ASSIGN_OR_RETURN(Shard shard, OpenShard(absl::StrCat(directory, "/", expected.file), expected, manifest.vocab));
    dataset.ends_.push_back(dataset.tokens() + shard.tokens());
    dataset.shards_.push_back(std::move(shard));
  }
  if (dataset.tokens() != info.tokens) {
    return absl::DataLossError(absl::StrCat(directory, ": the shards of ", split, " have ", dataset.tokens(), " tokens where ",
                                            kManifestName, " promises ", info.tokens, kRebuildHint));
  }
  dataset.bytes_ = info.bytes;
  dataset.vocab_ = manifest.vocab;
  dataset.fingerprint_ = info.fingerprint;
  return dataset;
}

void Dataset::Read(uint64_t begin, absl::Span<int32_t> out) const {
  POLYMOE_CHECK(begin <= tokens() && out.size() <= tokens() - begin, "read of %zu tokens past the end", out.size());
  size_t shard = std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin();
  for (size_t done = 0; done < out.size(); ++shard) {
    const uint64_t start = shard == 0 ? 0 : ends_[shard - 1];
    const uint64_t offset = begin + done - start;
    const size_t count = std::min<uint64_t>(out.size() - done, ends_[shard] - start - offset);
    shards_[shard].Read(offset, out.subspan(done, count));
    done += count;
  }
}

}  // namespace polymoe
