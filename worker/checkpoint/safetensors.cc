#include "worker/checkpoint/safetensors.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/status.h"

namespace polymoe {
namespace {

using nlohmann::json;

constexpr uint64_t kLongestHeader = 100'000'000;  // the format's own limit

absl::Status Broken(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": not a valid safetensors file: ", what));
}

// Elements of a shape, or nothing when it is negative or overflows.
std::optional<uint64_t> Elements(const std::vector<int64_t>& shape) {
  uint64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (extent > 0 && count > std::numeric_limits<uint64_t>::max() / 8 / static_cast<uint64_t>(extent)) return std::nullopt;
    count *= static_cast<uint64_t>(extent);
  }
  return count;
}

struct Item {
  std::string name;
  std::vector<int64_t> shape;
  uint64_t begin, end;
};

absl::StatusOr<std::vector<Item>> ParseHeader(const std::string& path, const uint8_t* text, uint64_t size) {
  std::vector<Item> items;
  try {
    const json header = json::parse(text, text + size);
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      if (entry.at("dtype") != "F32") return Broken(path, absl::StrCat(name, " is not F32"));
      const std::vector<uint64_t> offsets = entry.at("data_offsets");
      if (offsets.size() != 2) return Broken(path, absl::StrCat("offsets of ", name));
      items.push_back({name, entry.at("shape"), offsets[0], offsets[1]});
    }
  } catch (const json::exception& e) {
    return Broken(path, e.what());
  }
  std::sort(items.begin(), items.end(),
            [](const Item& a, const Item& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  return items;
}

}  // namespace

int64_t TensorRef::size() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

absl::StatusOr<uint32_t> WriteSafetensors(const std::string& path, absl::Span<const TensorRef> tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t offset = 0;
  for (const TensorRef& tensor : tensors) {
    const uint64_t bytes = tensor.size() * sizeof(float);
    header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();

  POLYMOE_ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  uint32_t checksum = 0;
  const auto append = [&](const void* data, size_t size) {
    checksum = static_cast<uint32_t>(crc32_z(checksum, static_cast<const Bytef*>(data), size));
    return file.Append(data, size);
  };
  POLYMOE_RETURN_IF_ERROR(append(&length, sizeof(length)));
  POLYMOE_RETURN_IF_ERROR(append(text.data(), text.size()));
  for (const TensorRef& tensor : tensors) POLYMOE_RETURN_IF_ERROR(append(tensor.data, tensor.size() * sizeof(float)));
  POLYMOE_RETURN_IF_ERROR(file.FsyncAndClose());
  return checksum;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  POLYMOE_ASSIGN_OR_RETURN(MappedFile map, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = map.bytes();
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) return Broken(path, "shorter than its length field");
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > kLongestHeader || length > bytes.size() - sizeof(length)) return Broken(path, "truncated header");
  const uint8_t* data = bytes.data() + sizeof(length) + length;
  const uint64_t size = bytes.size() - sizeof(length) - length;
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<Item> items, ParseHeader(path, bytes.data() + sizeof(length), length));

  SafetensorsFile file(std::move(map));
  uint64_t position = 0;
  for (const Item& item : items) {
    const std::optional<uint64_t> elements = Elements(item.shape);
    if (item.begin != position || item.end < item.begin) return Broken(path, absl::StrCat("hole or overlap at ", item.name));
    if (!elements || item.end - item.begin != *elements * sizeof(float)) return Broken(path, absl::StrCat("size of ", item.name));
    if (item.end > size) return Broken(path, absl::StrCat("truncated in ", item.name));
    file.tensors_[item.name] = {item.shape, reinterpret_cast<const float*>(data + item.begin)};
    position = item.end;
  }
  if (position != size) return Broken(path, absl::StrCat(size - position, " bytes behind the last tensor"));
  return file;
}

}  // namespace polymoe
