// A rank's part of a named fp32 tensor: some rows of its first dimension. What checkpoints are made of.
#ifndef POLYMOE_WORKER_CHECKPOINT_SLAB_H_
#define POLYMOE_WORKER_CHECKPOINT_SLAB_H_

#include <cstdint>
#include <string>
#include <vector>

namespace polymoe {

// Rows of a shape: the extent of its first dimension; a scalar is one row.
inline int64_t RowsOf(const std::vector<int64_t>& shape) {
  return shape.empty() ? 1 : shape[0];
}
// Elements of a row.
inline int64_t RowSize(const std::vector<int64_t>& shape) {
  int64_t size = 1;
  for (size_t i = 1; i < shape.size(); ++i) size *= shape[i];
  return size;
}

struct TensorSlab {
  std::string name;
  std::vector<int64_t> shape;  // of the whole tensor
  int64_t begin = 0, end = 0;  // rows [begin, end); may be none
  float* data = nullptr;       // of row `begin`, row-major; belongs to someone else

  int64_t size() const { return (end - begin) * RowSize(shape); }
  bool whole() const { return begin == 0 && end == RowsOf(shape); }
};

inline TensorSlab WholeTensor(std::string name, std::vector<int64_t> shape, float* data) {
  const int64_t rows = RowsOf(shape);
  return {std::move(name), std::move(shape), 0, rows, data};
}

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_SLAB_H_
