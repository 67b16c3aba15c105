#include "worker/data/shard.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "common/status.h"
#include "worker/data/manifest.h"

namespace polymoe {
namespace {

constexpr char kMagic[] = "POLYTOK1";
constexpr size_t kHeaderSize = 32;

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

template <typename Token>
bool AllBelow(const uint8_t* data, uint64_t count, uint32_t vocab) {
  const Token* tokens = reinterpret_cast<const Token*>(data);
  Token largest = 0;  // a loop that compilers vectorise, which they do not do to std::max_element
  for (uint64_t i = 0; i < count; ++i) largest = std::max(largest, tokens[i]);
  return count == 0 || largest < vocab;
}

absl::Status Check(const Header& header, absl::Span<const uint8_t> tokens) {
  if (std::memcmp(header.magic, kMagic, sizeof(header.magic)) != 0) {
    return absl::DataLossError("not a token shard of version 1");
  }
  if (header.width != TokenWidth(header.vocab) || header.zero != 0) return absl::DataLossError("has a damaged header");
  if (tokens.size() % header.width != 0 || tokens.size() / header.width != header.tokens) {
    return absl::DataLossError(absl::StrCat("has ", kHeaderSize + tokens.size(), " bytes where its header promises ", header.tokens,
                                            " tokens of ", header.width, " bytes"));
  }
  if (Checksum(tokens.data(), tokens.size()) != header.checksum) {
    return absl::DataLossError("checksum does not match its content");
  }
  const bool fits = header.width == 2 ? AllBelow<uint16_t>(tokens.data(), header.tokens, header.vocab)
                                      : AllBelow<uint32_t>(tokens.data(), header.tokens, header.vocab);
  if (!fits) return absl::DataLossError(absl::StrCat("has tokens outside its vocabulary of ", header.vocab));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint32_t> WriteShard(const std::string& path, absl::Span<const uint32_t> tokens, uint32_t vocab) {
  const uint32_t width = TokenWidth(vocab);
  std::vector<uint16_t> narrow;
  if (width == 2) narrow.assign(tokens.begin(), tokens.end());
  const void* data = width == 2 ? static_cast<const void*>(narrow.data()) : tokens.data();
  Header header{.width = width, .vocab = vocab, .tokens = tokens.size()};
  std::memcpy(header.magic, kMagic, sizeof(header.magic));
  header.checksum = Checksum(static_cast<const uint8_t*>(data), tokens.size() * width);
  const std::string temporary = path + ".tmp";
  POLYMOE_ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(temporary));
  POLYMOE_RETURN_IF_ERROR(file.Append(&header, sizeof(header)));
  POLYMOE_RETURN_IF_ERROR(file.Append(data, tokens.size() * width));
  POLYMOE_RETURN_IF_ERROR(file.FsyncAndClose());
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "rename to", path);
  return header.checksum;
}

absl::StatusOr<Shard> Shard::Open(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return absl::Status(file.status().code(), absl::StrCat(file.status().message(), kRebuildHint));
  const absl::Span<const uint8_t> bytes = file->bytes();
  Header header;
  if (bytes.size() < kHeaderSize) return absl::DataLossError(absl::StrCat(path, ": shorter than a shard's header", kRebuildHint));
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (const absl::Status status = Check(header, bytes.subspan(kHeaderSize)); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message(), kRebuildHint));
  }
  Shard shard(*std::move(file));
  shard.tokens_ = header.tokens;
  shard.vocab_ = header.vocab;
  shard.checksum_ = header.checksum;
  return shard;
}

void Shard::Read(uint64_t begin, absl::Span<int32_t> out) const {
  const uint8_t* data = file_.bytes().data() + kHeaderSize;
  if (TokenWidth(vocab_) == 2) {
    std::copy_n(reinterpret_cast<const uint16_t*>(data) + begin, out.size(), out.begin());
  } else {
    std::copy_n(reinterpret_cast<const uint32_t*>(data) + begin, out.size(), out.begin());
  }
}

}  // namespace polymoe
