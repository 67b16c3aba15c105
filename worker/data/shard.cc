#include "worker/data/shard.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/status.h"

namespace polymoe {
namespace {

constexpr char kMagic[] = "POLYTOK1";
constexpr size_t kHeaderSize = 32;
constexpr char kRebuild[] = "; rebuild the dataset with `polyctl dataset build`";

struct Header {
  char magic[8];
  uint32_t width;
  uint32_t vocab;
  uint64_t tokens;
  uint32_t checksum;
  uint32_t zero;
};
static_assert(sizeof(Header) == kHeaderSize);

uint32_t Checksum(const uint8_t* data, size_t size) {
  return static_cast<uint32_t>(crc32_z(0, data, size));
}

}  // namespace

absl::Status WriteShard(const std::string& path, absl::Span<const uint32_t> tokens, uint32_t vocab) {
  std::vector<uint16_t> narrow;
  const bool two_bytes = vocab <= 65536;
  if (two_bytes) narrow.assign(tokens.begin(), tokens.end());
  const void* data = two_bytes ? static_cast<const void*>(narrow.data()) : tokens.data();
  const uint32_t width = two_bytes ? 2 : 4;
  Header header{.width = width, .vocab = vocab, .tokens = tokens.size(), .zero = 0};
  std::memcpy(header.magic, kMagic, sizeof(header.magic));
  header.checksum = Checksum(static_cast<const uint8_t*>(data), tokens.size() * width);
  POLYMOE_ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  POLYMOE_RETURN_IF_ERROR(file.Append(&header, sizeof(header)));
  POLYMOE_RETURN_IF_ERROR(file.Append(data, tokens.size() * width));
  return file.FsyncAndClose();
}

absl::StatusOr<Shard> Shard::Open(const std::string& path) {
  POLYMOE_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = file.bytes();
  Header header;
  if (bytes.size() < kHeaderSize) return absl::DataLossError(absl::StrCat(path, ": shorter than a shard's header", kRebuild));
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(header.magic)) != 0 || (header.width != 2 && header.width != 4)) {
    return absl::DataLossError(absl::StrCat(path, ": not a token shard of version 1", kRebuild));
  }
  if (header.tokens > (uint64_t{1} << 60) || bytes.size() - kHeaderSize != header.tokens * header.width) {
    return absl::DataLossError(absl::StrCat(path, ": has ", bytes.size(), " bytes where its header promises ",
                                            kHeaderSize + header.tokens * header.width, kRebuild));
  }
  if (Checksum(bytes.data() + kHeaderSize, bytes.size() - kHeaderSize) != header.checksum) {
    return absl::DataLossError(absl::StrCat(path, ": checksum does not match its content", kRebuild));
  }
  Shard shard(std::move(file));
  shard.tokens_ = header.tokens;
  shard.width_ = header.width;
  shard.vocab_ = header.vocab;
  shard.checksum_ = header.checksum;
  return shard;
}

uint32_t Shard::operator[](uint64_t i) const {
  const uint8_t* data = file_.bytes().data() + kHeaderSize;
  if (width_ == 2) return reinterpret_cast<const uint16_t*>(data)[i];
  return reinterpret_cast<const uint32_t*>(data)[i];
}

}  // namespace polymoe
