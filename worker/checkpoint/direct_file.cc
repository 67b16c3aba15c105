#include "worker/checkpoint/direct_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "common/file.h"
#include "common/status.h"

namespace polymoe {
namespace {

constexpr size_t kBlock = 4096;              // at least what any device asks for
constexpr size_t kBuffer = size_t{4} << 20;  // a multiple of it

struct Free {
  void operator()(char* memory) const { std::free(memory); }
};

class DirectFile {
 public:
  explicit DirectFile(const std::string& path) : path_(path), buffer_(static_cast<char*>(std::aligned_alloc(kBlock, kBuffer))) {}
  ~DirectFile() {
    if (fd_ >= 0) close(fd_);
  }
  DirectFile(const DirectFile&) = delete;
  DirectFile& operator=(const DirectFile&) = delete;

  absl::Status Open() {
    if (buffer_ == nullptr) return absl::ResourceExhaustedError("no memory for a buffer to write from");
    constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    fd_ = open(path_.c_str(), kFlags | O_DIRECT, 0644);
    if (fd_ < 0 && errno == EINVAL) fd_ = open(path_.c_str(), kFlags, 0644);  // tmpfs, for one
    return fd_ < 0 ? ErrnoStatus(errno, "create", path_) : absl::OkStatus();
  }

  absl::Status Append(absl::string_view bytes) {
    while (!bytes.empty()) {
      const size_t n = std::min(bytes.size(), kBuffer - used_);
      std::memcpy(buffer_.get() + used_, bytes.data(), n);
      bytes.remove_prefix(n);
      used_ += n;
      if (used_ == kBuffer) POLYMOE_RETURN_IF_ERROR(Flush());
    }
    return absl::OkStatus();
  }

  // Whole blocks are written, and what is too much is cut off.
  absl::Status Finish() {
    const off_t size = written_ + static_cast<off_t>(used_);
    const size_t padded = (used_ + kBlock - 1) / kBlock * kBlock;
    std::memset(buffer_.get() + used_, 0, padded - used_);
    used_ = padded;
    POLYMOE_RETURN_IF_ERROR(Flush());
    if (ftruncate(fd_, size) != 0) return ErrnoStatus(errno, "cut to size", path_);
    if (fsync(fd_) != 0) return ErrnoStatus(errno, "fsync", path_);
    return close(std::exchange(fd_, -1)) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "close", path_);
  }

 private:
  absl::Status Flush() {
    for (size_t done = 0; done < used_;) {
      const ssize_t n = write(fd_, buffer_.get() + done, used_ - done);
      if (n < 0 && errno == EINTR) continue;
      // A file system that opened it so and does not write it so, or a write that ended within a block.
      if (n < 0 && errno == EINVAL && (fcntl(fd_, F_GETFL) & O_DIRECT) != 0) {
        if (fcntl(fd_, F_SETFL, 0) == 0) continue;
      }
      if (n < 0) return ErrnoStatus(errno, "write", path_);
      done += n;
      written_ += n;
    }
    used_ = 0;
    return absl::OkStatus();
  }

  const std::string path_;
  const std::unique_ptr<char, Free> buffer_;
  size_t used_ = 0;
  off_t written_ = 0;
  int fd_ = -1;
};

}  // namespace

absl::Status WriteFileDirectly(const std::string& path, absl::Span<const absl::string_view> pieces) {
  DirectFile file(path);
  POLYMOE_RETURN_IF_ERROR(file.Open());
  for (const absl::string_view piece : pieces) POLYMOE_RETURN_IF_ERROR(file.Append(piece));
  return file.Finish();
}

}  // namespace polymoe
