#include "worker/data/part.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "common/status.h"
#include "worker/data/shard.h"

namespace polymoe {

absl::StatusOr<PartWriter> PartWriter::Create(const std::string& path, uint32_t vocab) {
  POLYMOE_ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path + ".tmp"));
  return PartWriter(path, vocab, std::move(file));
}

absl::Status PartWriter::Add(const PartDocument& document) {
  const uint64_t head[3] = {document.hash, document.bytes, document.tokens.size()};
  POLYMOE_RETURN_IF_ERROR(file_.Append(head, sizeof(head)));
  if (TokenWidth(vocab_) == 4) return file_.Append(document.tokens.data(), document.tokens.size() * sizeof(uint32_t));
  const std::vector<uint16_t> narrow(document.tokens.begin(), document.tokens.end());
  return file_.Append(narrow.data(), narrow.size() * sizeof(uint16_t));
}

absl::Status PartWriter::Finish() {
  POLYMOE_RETURN_IF_ERROR(file_.FsyncAndClose());
  return std::rename((path_ + ".tmp").c_str(), path_.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "rename to", path_);
}

absl::Status ReadPart(const std::string& path, uint32_t vocab, const std::function<absl::Status(const PartDocument&)>& visit) {
  POLYMOE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const uint32_t width = TokenWidth(vocab);
  PartDocument document;
  std::vector<uint16_t> narrow;
  for (absl::Span<const uint8_t> rest = file.bytes(); !rest.empty();) {
    uint64_t head[3];
    if (rest.size() >= sizeof(head)) std::memcpy(head, rest.data(), sizeof(head));
    // A document has its end token at least.
    if (rest.size() < sizeof(head) || head[2] == 0 || (rest.size() - sizeof(head)) / width < head[2]) {
      return absl::DataLossError(absl::StrCat(path, ": damaged; remove it and build again"));
    }
    rest.remove_prefix(sizeof(head));
    document.hash = head[0];
    document.bytes = head[1];
    document.tokens.resize(head[2]);
    if (width == 4) {
      std::memcpy(document.tokens.data(), rest.data(), head[2] * width);
    } else {
      narrow.resize(head[2]);
      std::memcpy(narrow.data(), rest.data(), head[2] * width);
      std::copy(narrow.begin(), narrow.end(), document.tokens.begin());
    }
    rest.remove_prefix(head[2] * width);
    POLYMOE_RETURN_IF_ERROR(visit(document));
  }
  return absl::OkStatus();
}

}  // namespace polymoe
