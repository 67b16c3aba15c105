// Datasets for tests, written without the builder.
#ifndef POLYMOE_TESTS_WORKER_DATA_DATASETS_H_
#define POLYMOE_TESTS_WORKER_DATA_DATASETS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "worker/data/manifest.h"
#include "worker/data/shard.h"

namespace polymoe {

// A dataset in `directory` whose split "train" is these shards, train-0.tok and so on.
inline void WriteDataset(const std::string& directory, const std::vector<std::vector<uint32_t>>& shards, uint32_t vocab) {
  SplitInfo split{.bytes = 1234, .documents = 1, .fingerprint = "0123456789abcdef"};
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string file = absl::StrCat("train-", i, ".tok");
    const auto checksum = WriteShard(absl::StrCat(directory, "/", file), shards[i], vocab);
    POLYMOE_CHECK(checksum.ok());
    split.shards.push_back({file, shards[i].size(), *checksum});
    split.tokens += shards[i].size();
  }
  const Manifest manifest{
      .tokenizer = "bytes", .vocab = vocab, .options = "none", .splits = {{"train", split}}, .sources = {{.path = "x"}}};
  POLYMOE_CHECK(WriteManifest(directory, manifest).ok());
}

// 0, 1, 2, ...
inline std::vector<uint32_t> Counting(uint32_t count) {
  std::vector<uint32_t> tokens(count);
  for (uint32_t i = 0; i < count; ++i) tokens[i] = i;
  return tokens;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_DATA_DATASETS_H_
