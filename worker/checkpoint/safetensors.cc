#include "worker/checkpoint/safetensors.h"

#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/status.h"

namespace polymoe {
namespace {

using nlohmann::json;

constexpr uint64_t kLongestHeader = 100'000'000;  // the format's own limit
constexpr char kMetadata[] = "__metadata__", kNote[] = "polymoe";

}  // namespace

std::string SafetensorsHead(absl::Span<const TensorSlab> slabs, const std::string& note) {
  json header = {{kMetadata, {{"format", "pt"}, {kNote, note}}}};
  uint64_t offset = 0;
  for (const TensorSlab& slab : slabs) {
    if (slab.begin == slab.end && !slab.whole()) continue;
    std::vector<int64_t> shape = slab.shape;
    if (!shape.empty()) shape[0] = slab.end - slab.begin;
    const uint64_t bytes = slab.size() * sizeof(float);
    const std::string name = slab.whole() ? slab.name : absl::StrCat(slab.name, "[", slab.begin, ":", slab.end, "]");
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

absl::StatusOr<SafetensorsNote> ReadSafetensorsNote(Storage& storage, const std::string& name) {
  const auto broken = [&] {
    return absl::DataLossError(absl::StrCat(storage.Where(name), " does not begin like a part of a checkpoint"));
  };
  uint64_t length = 0;
  const absl::Status sized = storage.Read(name, 0, {reinterpret_cast<char*>(&length), sizeof(length)});
  if (absl::IsOutOfRange(sized) || length > kLongestHeader) return broken();
  POLYMOE_RETURN_IF_ERROR(sized);
  std::string text(length, '\0');
  const absl::Status read = storage.Read(name, sizeof(length), absl::MakeSpan(text.data(), text.size()));
  if (absl::IsOutOfRange(read)) return broken();
  POLYMOE_RETURN_IF_ERROR(read);
  try {
    return SafetensorsNote{json::parse(text).at(kMetadata).at(kNote), sizeof(length) + length};
  } catch (const json::exception&) {
    return broken();
  }
}

}  // namespace polymoe
