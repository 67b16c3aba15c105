// The safetensors format (huggingface/safetensors README): u64 length, JSON header, tensors. Only F32, which is all that we keep.
// Files open in every tool that reads the format.
#ifndef POLYMOE_WORKER_CHECKPOINT_SAFETENSORS_H_
#define POLYMOE_WORKER_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "common/file.h"

namespace polymoe {

// A named fp32 tensor in memory that belongs to someone else.
struct TensorRef {
  std::string name;
  std::vector<int64_t> shape;
  float* data = nullptr;

  int64_t size() const;
};

// Writes and fsyncs `path`; returns the CRC-32 (zlib) of the whole file.
absl::StatusOr<uint32_t> WriteSafetensors(const std::string& path, absl::Span<const TensorRef> tensors);

class SafetensorsFile {
 public:
  struct Entry {
    std::vector<int64_t> shape;
    const float* data;  // into the map; not aligned more than 4 bytes
  };

  // Maps the file and checks the header as the format demands: sorted, without holes or overlaps, ending at the end of the file.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::map<std::string, Entry>& tensors() const { return tensors_; }
  absl::Span<const uint8_t> bytes() const { return file_.bytes(); }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}

  MappedFile file_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_SAFETENSORS_H_
