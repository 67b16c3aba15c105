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

struct ShardInfo {
  std::string file;  // its name in the dataset's folder
  uint64_t tokens = 0;
  uint32_t checksum = 0;  // as in its header
};

struct SplitInfo {
  std::vector<ShardInfo> shards;  // in order
  uint64_t tokens = 0;
  uint64_t bytes = 0;  // of the text
  uint64_t documents = 0;
  std::string fingerprint;  // of the sequence of tokens, however it is cut into shards; 16 hex digits
  // Nats a token of the split's own token frequencies: the loss of a model that knows these and nothing else.
  double unigram_entropy = 0;
};

// What one of the builder's inputs (a file, or all files of a folder) brought, over all splits.
struct SourceInfo {
  std::string path;
  uint64_t files = 0;
  uint64_t documents = 0;
  uint64_t tokens = 0;
  uint64_t bytes = 0;       // of the text
  uint64_t duplicates = 0;  // documents left out because an equal one was there; in no other count
};

struct Manifest {
  std::string tokenizer;  // "bytes" or "spm"; a SentencePiece model lies beside as tokenizer.model
  uint32_t vocab = 0;
  std::string options;                      // the builder's fingerprint of its options and inputs
  std::map<std::string, SplitInfo> splits;  // "train", "heldout"; an empty split is absent
  std::vector<SourceInfo> sources;          // in the order given
};

inline constexpr char kManifestName[] = "manifest.json";
inline constexpr char kTokenizerModelName[] = "tokenizer.model";

// What errors about a dataset on disk end with.
inline constexpr char kRebuildHint[] = "; repair it by running the same `polyctl dataset build` again";

// NOT_FOUND says that there is no dataset and how to make one; DATA_LOSS: damaged; FAILED_PRECONDITION: of another version.
absl::StatusOr<Manifest> ReadManifest(const std::string& directory);
absl::Status WriteManifest(const std::string& directory, const Manifest& manifest);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_MANIFEST_H_
