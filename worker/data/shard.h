// One file of tokens. Little-endian:
//   0  8 bytes  magic "POLYTOK1"       16  8 bytes  number of tokens
//   8  4 bytes  bytes a token: 2 or 4  24  4 bytes  CRC-32 (zlib) of the tokens' bytes
//  12  4 bytes  vocabulary             28  4 bytes  zero
//  32  tokens
#ifndef POLYMOE_WORKER_DATA_SHARD_H_
#define POLYMOE_WORKER_DATA_SHARD_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "common/file.h"

namespace polymoe {

// Tokens take 2 bytes where they fit, else 4.
inline uint32_t TokenWidth(uint32_t vocab) {
  return vocab <= 65536 ? 2 : 4;
}

// Whole or not at all under this name (written beside as `path`.tmp, fsynced, renamed); the folder's entry is not fsynced. Tokens are
// below `vocab`. Returns the checksum.
absl::StatusOr<uint32_t> WriteShard(const std::string& path, absl::Span<const uint32_t> tokens, uint32_t vocab);

class Shard {
 public:
  // Maps the file and reads all of it once: magic, size, checksum, and that every token is below the vocabulary. DATA_LOSS for each.
  static absl::StatusOr<Shard> Open(const std::string& path);

  uint64_t tokens() const { return tokens_; }
  uint32_t vocab() const { return vocab_; }
  uint32_t checksum() const { return checksum_; }
  // out.size() tokens from position `begin`, all of which exist.
  void Read(uint64_t begin, absl::Span<int32_t> out) const;

 private:
  explicit Shard(MappedFile file) : file_(std::move(file)) {}

  MappedFile file_;
  uint64_t tokens_ = 0;
  uint32_t vocab_ = 0, checksum_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_SHARD_H_
