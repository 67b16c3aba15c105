// One file of tokens. Little-endian:
//   0  8 bytes  magic "POLYTOK1"       16  8 bytes  number of tokens
//   8  4 bytes  bytes a token: 2 or 4  24  4 bytes  CRC-32 (zlib) of the tokens' bytes
//  12  4 bytes  vocabulary             28  4 bytes  zero
//  32  tokens
#ifndef POLYMOE_WORKER_DATA_SHARD_H_
#define POLYMOE_WORKER_DATA_SHARD_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "common/file.h"

namespace polymoe {

// Durable when it returns. Tokens are below `vocab`.
absl::Status WriteShard(const std::string& path, absl::Span<const uint32_t> tokens, uint32_t vocab);

class Shard {
 public:
  // Maps the file and checks magic, size and checksum (about 1 GB/s, once).
  static absl::StatusOr<Shard> Open(const std::string& path);

  uint64_t tokens() const { return tokens_; }
  uint32_t vocab() const { return vocab_; }
  uint32_t checksum() const { return checksum_; }
  uint32_t operator[](uint64_t i) const;

 private:
  explicit Shard(MappedFile file) : file_(std::move(file)) {}

  MappedFile file_;
  uint64_t tokens_ = 0;
  uint32_t width_ = 2, vocab_ = 0, checksum_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_SHARD_H_
