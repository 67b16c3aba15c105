// SQLite in WAL mode with synchronous=FULL: a commit is on the disk when it returns. A lock file tells of the process that has it.
#include <fcntl.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/file.h"
#include "server/store/dialect.h"

namespace polymoe {
namespace {

class Sqlite final : public Dialect {
 public:
  explicit Sqlite(std::string path) : path_(std::move(path)) {}
  ~Sqlite() override {
    if (lock_fd_ >= 0) close(lock_fd_);
  }

  const std::string& name() const override { return path_; }
  bool is_postgresql() const override { return false; }
  size_t rows_at_once() const override { return 1; }  // its parser's time grows with the square of the parameters

  absl::Status OpenWriter(soci::session& session) override {
    lock_fd_ = open((path_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_fd_ < 0) return ErrnoStatus(errno, "create", path_ + ".lock");
    if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) return StoreInUse(path_);
    OpenReader(session);
    session << "PRAGMA journal_mode=WAL";
    session << "PRAGMA synchronous=FULL";
    return absl::OkStatus();
  }

  void OpenReader(soci::session& session) override { session.open(soci::sqlite3, absl::StrCat("db=\"", path_, "\" timeout=10")); }

  absl::StatusCode CodeOf(const std::exception& error) const override {
    return absl::StrContains(error.what(), "disk is full") ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable;
  }

  std::string Fit(std::string text) const override { return text; }
  std::string FitJson(std::string json) const override { return json; }

 private:
  const std::string path_;
  int lock_fd_ = -1;
};

}  // namespace

std::unique_ptr<Dialect> MakeSqlite(const std::string& path) {
  return std::make_unique<Sqlite>(path);
}

}  // namespace polymoe
