// Files: whole reads, durable writes, memory maps. Errors name the path and the system's reason.
#ifndef POLYMOE_COMMON_FILE_H_
#define POLYMOE_COMMON_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace polymoe {

// NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED (disk full) or UNAVAILABLE by errno: "cannot open /d/x: No such file or directory".
absl::Status ErrnoStatus(int error, absl::string_view doing, absl::string_view path);

absl::StatusOr<std::string> ReadFile(const std::string& path);

// All or nothing, durable when it returns: written beside as `path`.tmp, fsynced, renamed, the folder fsynced.
absl::Status WriteFileDurably(const std::string& path, absl::string_view content);

absl::Status FsyncDirectory(const std::string& path);
absl::Status MakeDirectories(const std::string& path);
// A folder with all that is in it. Fine when it is not there.
absl::Status RemoveTree(const std::string& path);
// Names in a folder, sorted.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);
bool PathExists(const std::string& path);
// Whether it names a place in an object store (s3://...) instead of a path.
bool IsUrl(absl::string_view path);

// A file being written from the start. Every failure (a full disk too) is a status; a file that was not closed well stays incomplete.
class OutputFile {
 public:
  static absl::StatusOr<OutputFile> Create(const std::string& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  absl::Status Append(const void* data, size_t size);
  // To the disk, then closed.
  absl::Status FsyncAndClose();
  uint64_t size() const { return size_; }

 private:
  OutputFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status Flush();
  absl::Status Write(const char* data, size_t size);

  std::string path_;
  int fd_;
  uint64_t size_ = 0;
  std::string buffer_;
};

// A read-only map of a whole file; an empty file gives an empty span.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const uint8_t* data_;
  size_t size_;
};

}  // namespace polymoe

#endif  // POLYMOE_COMMON_FILE_H_
