#include "worker/data/part.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "common/status.h"

namespace polymoe {

absl::StatusOr<PartWriter> PartWriter::Create(const std::string& path) {
  POLYMOE_ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path + ".tmp"));
  return PartWriter(path, std::move(file));
}

absl::Status PartWriter::Add(const PartDocument& document) {
  const uint64_t head[3] = {document.hash, document.bytes, document.tokens.size()};
  POLYMOE_RETURN_IF_ERROR(file_.Append(head, sizeof(head)));
  return file_.Append(document.tokens.data(), document.tokens.size() * sizeof(uint32_t));
}

absl::Status PartWriter::Finish() {
  POLYMOE_RETURN_IF_ERROR(file_.FsyncAndClose());
  return std::rename((path_ + ".tmp").c_str(), path_.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "rename to", path_);
}

absl::Status ReadPart(const std::string& path, const std::function<absl::Status(const PartDocument&)>& visit) {
  POLYMOE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = file.bytes();
  PartDocument document;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t head[3];
    const size_t left = bytes.size() - at;
    if (left >= sizeof(head)) std::memcpy(head, bytes.data() + at, sizeof(head));
    if (left < sizeof(head) || (left - sizeof(head)) / sizeof(uint32_t) < head[2]) {
      return absl::DataLossError(absl::StrCat(path, ": damaged; remove it and build again"));
    }
    document.hash = head[0];
    document.bytes = head[1];
    document.tokens.resize(head[2]);
    std::memcpy(document.tokens.data(), bytes.data() + at + sizeof(head), head[2] * sizeof(uint32_t));
    at += sizeof(head) + head[2] * sizeof(uint32_t);
    POLYMOE_RETURN_IF_ERROR(visit(document));
  }
  return absl::OkStatus();
}

}  // namespace polymoe
