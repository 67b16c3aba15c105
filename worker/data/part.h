// The tokenised documents of one input file, between the two stages of a build. A part exists whole or not at all. A document is its
// hash, bytes and number of tokens (8 bytes each) and the tokens, in 2 or 4 bytes each as TokenWidth(vocab) says.
#ifndef POLYMOE_WORKER_DATA_PART_H_
#define POLYMOE_WORKER_DATA_PART_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/file.h"

namespace polymoe {

struct PartDocument {
  uint64_t hash = 0;             // of the text
  uint64_t bytes = 0;            // of the text
  std::vector<uint32_t> tokens;  // with the end-of-document token
};

class PartWriter {
 public:
  static absl::StatusOr<PartWriter> Create(const std::string& path, uint32_t vocab);
  absl::Status Add(const PartDocument& document);
  // Durable and in place when it returns.
  absl::Status Finish();

 private:
  PartWriter(std::string path, uint32_t vocab, OutputFile file) : path_(std::move(path)), vocab_(vocab), file_(std::move(file)) {}

  std::string path_;
  uint32_t vocab_;
  OutputFile file_;
};

// Visits each document in order; stops at the first status that is not OK and returns it. DATA_LOSS for a damaged part.
absl::Status ReadPart(const std::string& path, uint32_t vocab, const std::function<absl::Status(const PartDocument&)>& visit);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_PART_H_
