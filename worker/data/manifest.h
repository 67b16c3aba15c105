// manifest.json of a dataset: what it is made of. Written last: a folder without one is no dataset.
#ifndef POLYMOE_WORKER_DATA_MANIFEST_H_
#define POLYMOE_WORKER_DATA_MANIFEST_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace polymoe {

struct SplitInfo {
  std::vector<std::string> shards;  // file names, in order
  uint64_t tokens = 0;
  uint64_t bytes = 0;  // of the text
  uint64_t documents = 0;
  std::string fingerprint;  // of the content, 16 hex digits
};

struct Manifest {
  std::string tokenizer;  // "bytes" or "spm"; a SentencePiece model lies beside as tokenizer.model
  uint32_t vocab = 0;
  uint64_t duplicates = 0;                  // documents left out because an equal one was there
  std::string options;                      // the builder's fingerprint of its options and inputs
  std::map<std::string, SplitInfo> splits;  // "train", "heldout"; an empty split is absent
};

inline constexpr char kManifestName[] = "manifest.json";
inline constexpr char kTokenizerModelName[] = "tokenizer.model";

// NOT_FOUND says that there is no dataset and how to make one.
absl::StatusOr<Manifest> ReadManifest(const std::string& directory);
absl::Status WriteManifest(const std::string& directory, const Manifest& manifest);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_MANIFEST_H_
