// One split of a tokenised dataset, as one stream of tokens over its memory-mapped shards.
#ifndef POLYMOE_WORKER_DATA_DATASET_H_
#define POLYMOE_WORKER_DATA_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "worker/data/shard.h"

namespace polymoe {

class Dataset {
 public:
  // Reads the manifest, maps the split's shards and reads them once to check them against it (cost: see Shard::Open). DATA_LOSS for
  // a damaged, truncated or foreign shard; NOT_FOUND for a missing one, a missing split or no dataset at all.
  static absl::StatusOr<Dataset> Open(const std::string& directory, const std::string& split);

  uint64_t tokens() const { return ends_.empty() ? 0 : ends_.back(); }
  uint64_t bytes() const { return bytes_; }  // of the text that the tokens spell
  uint32_t vocab_size() const { return vocab_; }
  const std::string& fingerprint() const { return fingerprint_; }

  // out.size() tokens from position `begin`, all of which exist. Thread-safe.
  void Read(uint64_t begin, absl::Span<int32_t> out) const;

 private:
  Dataset() = default;

  std::vector<Shard> shards_;
  std::vector<uint64_t> ends_;  // position behind each shard
  uint64_t bytes_ = 0;
  uint32_t vocab_ = 0;
  std::string fingerprint_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_DATASET_H_
