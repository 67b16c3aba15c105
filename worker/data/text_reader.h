// A file's text as a stream, decompressed by its name: .gz (zlib), .zst (zstd), else as it is.
#ifndef POLYMOE_WORKER_DATA_TEXT_READER_H_
#define POLYMOE_WORKER_DATA_TEXT_READER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace polymoe {

class TextReader {
 public:
  static absl::StatusOr<std::unique_ptr<TextReader>> Open(const std::string& path);
  virtual ~TextReader() = default;

  // Appends some more text; appends nothing at the end. DATA_LOSS for a damaged or truncated compressed file.
  virtual absl::Status Read(std::string* text) = 0;
  // Bytes of the file, as it lies on disk, that have been read so far.
  virtual uint64_t position() const = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_TEXT_READER_H_
