#include "worker/checkpoint/local_storage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "common/file.h"
#include "common/status.h"
#include "worker/checkpoint/direct_file.h"

namespace polymoe {
namespace {

namespace fs = std::filesystem;

std::string WithoutSlashes(absl::string_view root) {
  while (root.size() > 1 && absl::ConsumeSuffix(&root, "/")) {
  }
  return std::string(root.empty() ? "." : root);
}

std::string ParentOf(const std::string& path) {
  return fs::path(path).parent_path();
}

// What one process writes as temporary never meets what another does.
std::string UniqueSuffix() {
  std::random_device random;
  return absl::StrCat(".tmp-", absl::Hex(uint64_t{random()} << 32 | random(), absl::kZeroPad16));
}

}  // namespace

LocalStorage::LocalStorage(const std::string& root) : root_(WithoutSlashes(root)) {}

absl::Status LocalStorage::MakeParents(const std::string& path) const {
  std::vector<std::string> missing;  // deepest first
  for (std::string folder = ParentOf(path); !folder.empty() && !PathExists(folder); folder = ParentOf(folder))
    missing.push_back(folder);
  for (auto it = missing.rbegin(); it != missing.rend(); ++it) {
    if (mkdir(it->c_str(), 0777) != 0 && errno != EEXIST) return ErrnoStatus(errno, "create folder", *it);
    const std::string parent = ParentOf(*it);
    POLYMOE_RETURN_IF_ERROR(FsyncDirectory(parent.empty() ? "." : parent));
  }
  return absl::OkStatus();
}

absl::Status LocalStorage::Put(const std::string& name, absl::Span<const absl::string_view> pieces) {
  const std::string path = Where(name), temporary = path + ".tmp";
  POLYMOE_RETURN_IF_ERROR(MakeParents(path));
  POLYMOE_RETURN_IF_ERROR(WriteFileDirectly(temporary, pieces));
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "rename to", path);
  return FsyncDirectory(ParentOf(path));
}

absl::Status LocalStorage::Create(const std::string& name, absl::string_view content) {
  const std::string path = Where(name), temporary = path + UniqueSuffix();
  POLYMOE_RETURN_IF_ERROR(MakeParents(path));
  POLYMOE_RETURN_IF_ERROR(WriteFileDirectly(temporary, {content}));
  const int error = link(temporary.c_str(), path.c_str()) == 0 ? 0 : errno;  // unlike rename, never in place of another
  unlink(temporary.c_str());
  if (error != 0) return ErrnoStatus(error, "link to", path);
  return FsyncDirectory(ParentOf(path));
}

absl::StatusOr<std::string> LocalStorage::Get(const std::string& name) {
  return ReadFile(Where(name));
}

absl::Status LocalStorage::Read(const std::string& name, uint64_t offset, absl::Span<char> to) {
  const std::string path = Where(name);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  const auto closer = absl::MakeCleanup([fd] { close(fd); });
  for (size_t done = 0; done < to.size();) {
    const ssize_t n = pread(fd, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EIO) return absl::DataLossError(absl::StrCat("cannot read ", path, ": the disk reports an error"));
    if (n < 0) return ErrnoStatus(errno, "read", path);
    if (n == 0) return absl::OutOfRangeError(absl::StrCat(path, " ends before byte ", offset + to.size()));
    done += n;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> LocalStorage::List(const std::string& folder) {
  const std::string path = folder.empty() ? root_ : Where(folder);
  absl::StatusOr<std::vector<std::string>> names = ListDirectory(path);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>{};
  POLYMOE_RETURN_IF_ERROR(names.status());
  for (std::string& name : *names) {
    std::error_code gone;
    if (fs::is_directory(absl::StrCat(path, "/", name), gone)) name += "/";
  }
  std::sort(names->begin(), names->end());
  return names;
}

absl::Status LocalStorage::Delete(const std::string& name) {
  const std::string path = Where(name);
  if (unlink(path.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) return ErrnoStatus(errno, "remove", path);
  RemoveEmptyParents(path);
  return absl::OkStatus();
}

absl::Status LocalStorage::DeleteFolder(const std::string& folder) {
  const std::string path = Where(folder);
  POLYMOE_RETURN_IF_ERROR(RemoveTree(path));
  RemoveEmptyParents(path);
  return absl::OkStatus();
}

void LocalStorage::RemoveEmptyParents(const std::string& path) const {
  for (std::string folder = ParentOf(path); folder.size() > root_.size(); folder = ParentOf(folder)) {
    if (rmdir(folder.c_str()) != 0 && errno != ENOENT) return;  // not empty
  }
}

absl::Status LocalStorage::RenameFolder(const std::string& folder, const std::string& to) {
  const std::string from_path = Where(folder), to_path = Where(to);
  POLYMOE_RETURN_IF_ERROR(RemoveTree(to_path));
  if (std::rename(from_path.c_str(), to_path.c_str()) != 0) return ErrnoStatus(errno, "rename to", to_path);
  return FsyncDirectory(ParentOf(to_path));
}

}  // namespace polymoe
