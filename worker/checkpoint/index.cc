#include "worker/checkpoint/index.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <nlohmann/json.hpp>

#include "common/status.h"

namespace polymoe {
namespace {

using nlohmann::json;
using Shape = std::vector<int64_t>;

constexpr uint64_t kBoxBytes = 16 << 20;

// Whether it has no negative extent, and its bytes can be counted.
bool Countable(const Shape& shape) {
  int64_t count = sizeof(float);
  for (const int64_t extent : shape) {
    if (extent < 0 || (extent > 0 && count > std::numeric_limits<int64_t>::max() / extent)) return false;
    count *= std::max<int64_t>(extent, 1);
  }
  return true;
}

Shape BoxShape(const Shape& shape, const Box& box) {
  Shape cut = shape;
  if (!cut.empty()) cut[0] = box.end - box.begin;
  return cut;
}

Shape BoxStart(const Shape& shape, const Box& box) {
  Shape start(shape.size(), 0);
  if (!start.empty()) start[0] = box.begin;
  return start;
}

absl::Status NoBox(const std::string& name, const json& box) {
  return absl::DataLossError(absl::StrCat("tensor ", name, " has a box that is no rows of it: ", box.dump(-1, ' ', true)));
}

absl::StatusOr<Box> BoxFromJson(const std::string& name, const Shape& shape, const json& j) {
  const Shape start = j.at("start"), extent = j.at("shape");
  Box box{.file = j.at("file"), .offset = j.at("offset"), .crc32 = j.at("crc32")};
  if (!Countable(start) || !Countable(extent)) return NoBox(name, j);
  if (box.offset > std::numeric_limits<int64_t>::max() / 2) return NoBox(name, j);  // a negative one too
  if (box.file.empty() || absl::StrContains(box.file, '/')) return NoBox(name, j);  // only beside the index
  box.begin = start.empty() ? 0 : start[0];
  box.end = box.begin + RowsOf(extent);
  if (start != BoxStart(shape, box) || extent != BoxShape(shape, box) || box.end > RowsOf(shape)) return NoBox(name, j);
  return box;
}

}  // namespace

TensorIndex IndexSlabs(const std::string& file, absl::Span<const TensorSlab> slabs) {
  TensorIndex index;
  uint64_t offset = 0;
  for (const TensorSlab& slab : slabs) {
    IndexedTensor& tensor = index[slab.name];
    tensor.shape = slab.shape;
    const uint64_t row_bytes = tensor.row_bytes();
    const auto* bytes = reinterpret_cast<const Bytef*>(slab.data);
    const int64_t step = static_cast<int64_t>(std::max<uint64_t>(1, kBoxBytes / std::max<uint64_t>(1, row_bytes)));
    for (int64_t row = slab.begin; row < slab.end; row += step) {
      Box box{.file = file, .offset = offset, .begin = row, .end = std::min(row + step, slab.end)};
      const uint64_t size = (box.end - box.begin) * row_bytes;
      box.crc32 = static_cast<uint32_t>(crc32_z(0, bytes, size));
      tensor.boxes.push_back(std::move(box));
      bytes += size;
      offset += size;
    }
  }
  return index;
}

absl::Status Join(TensorIndex& index, const TensorIndex& part, uint64_t data_offset) {
  for (const auto& [name, tensor] : part) {
    const auto [it, added] = index.try_emplace(name, IndexedTensor{tensor.shape, {}});
    if (it->second.shape != tensor.shape) {
      return absl::InvalidArgumentError(absl::StrCat("ranks have different shapes of tensor ", name, ": [",
                                                     absl::StrJoin(it->second.shape, ","), "] and [",
                                                     absl::StrJoin(tensor.shape, ","), "]"));
    }
    for (const Box& box : tensor.boxes) {
      it->second.boxes.push_back(box);
      it->second.boxes.back().offset += data_offset;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCoverage(TensorIndex& index) {
  for (auto& [name, tensor] : index) {
    std::sort(tensor.boxes.begin(), tensor.boxes.end(), [](const Box& a, const Box& b) { return a.begin < b.begin; });
    int64_t covered = 0;
    const auto check = [&, tensor_name = absl::string_view(name)](int64_t next) {
      if (next == covered) return absl::OkStatus();
      return absl::DataLossError(absl::StrCat("rows [", std::min(next, covered), ", ", std::max(next, covered), ") of tensor ",
                                              tensor_name, next > covered ? " are in no file" : " are in two places"));
    };
    for (const Box& box : tensor.boxes) {
      POLYMOE_RETURN_IF_ERROR(check(box.begin));
      covered = box.end;
    }
    POLYMOE_RETURN_IF_ERROR(check(RowsOf(tensor.shape)));
  }
  return absl::OkStatus();
}

json ToJson(const TensorIndex& index) {
  json tensors = json::object();
  for (const auto& [name, tensor] : index) {
    json boxes = json::array();
    for (const Box& box : tensor.boxes) {
      boxes.push_back({{"file", box.file},
                       {"offset", box.offset},
                       {"start", BoxStart(tensor.shape, box)},
                       {"shape", BoxShape(tensor.shape, box)},
                       {"crc32", box.crc32}});
    }
    tensors[name] = {{"shape", tensor.shape}, {"boxes", std::move(boxes)}};
  }
  return tensors;
}

absl::StatusOr<TensorIndex> IndexFromJson(const json& j) {
  TensorIndex index;
  try {
    if (!j.is_object()) return absl::DataLossError("the index has no tensors");
    for (const auto& [name, entry] : j.items()) {
      IndexedTensor& tensor = index[name];
      tensor.shape = entry.at("shape").get<Shape>();
      if (!Countable(tensor.shape)) return absl::DataLossError(absl::StrCat("tensor ", name, " has an impossible shape"));
      for (const json& box : entry.at("boxes")) {
        POLYMOE_ASSIGN_OR_RETURN(Box parsed, BoxFromJson(name, tensor.shape, box));
        tensor.boxes.push_back(std::move(parsed));
      }
    }
  } catch (const json::exception& e) {
    return absl::DataLossError(absl::StrCat("the index is garbled: ", e.what()));
  }
  return index;
}

}  // namespace polymoe
