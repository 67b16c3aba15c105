// Which rows of which tensor are where: the index of a checkpoint, and a rank's part of it.
#ifndef POLYMOE_WORKER_CHECKPOINT_INDEX_H_
#define POLYMOE_WORKER_CHECKPOINT_INDEX_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include <nlohmann/json_fwd.hpp>

#include "worker/checkpoint/slab.h"

namespace polymoe {

// Rows [begin, end) of a tensor, in a file from byte `offset`; what is checked as one.
struct Box {
  std::string file;
  uint64_t offset = 0;
  int64_t begin = 0, end = 0;
  uint32_t crc32 = 0;  // zlib's, of the box's bytes
};

struct IndexedTensor {
  std::vector<int64_t> shape;
  std::vector<Box> boxes;

  uint64_t row_bytes() const { return static_cast<uint64_t>(RowSize(shape)) * sizeof(float); }
};

using TensorIndex = std::map<std::string, IndexedTensor>;

// Of the slabs whose data lie in `file` one behind another, in this order. A slab is cut into boxes of some MiB, so that a rank that wants a
// few rows of it need not read and check all. Offsets count from the first slab.
TensorIndex IndexSlabs(const std::string& file, absl::Span<const TensorSlab> slabs);

// Adds another rank's part, in whose offsets `data_offset` is missing yet. INVALID_ARGUMENT when both know a tensor by different shapes.
absl::Status Join(TensorIndex& index, const TensorIndex& part, uint64_t data_offset);

// Every row of every tensor in exactly one box. DATA_LOSS names the first hole or overlap. Sorts the boxes by rows.
absl::Status CheckCoverage(TensorIndex& index);

// {"w": {"shape": [4, 2], "boxes": [{"file": "rank-0.safetensors", "offset": 96, "start": [0, 0], "shape": [4, 2], "crc32": 1}]}}
nlohmann::json ToJson(const TensorIndex& index);
// DATA_LOSS for what is no index: shapes that are negative or too large, boxes that are no rows of their tensor.
absl::StatusOr<TensorIndex> IndexFromJson(const nlohmann::json& json);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_INDEX_H_
