// PostgreSQL through libpq. Two connections; the writer's holds an advisory lock of the database for as long as it lives, so that a
// process that lost its connection can no longer commit when another one may.
#include <soci/postgresql/soci-postgresql.h>

#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

#include "common/utf8.h"
#include "server/store/dialect.h"
#include "server/store/store.h"

namespace polymoe {
namespace {

constexpr int64_t kLockKey = 0x706f6c796d6f65;  // "polymoe"

// Adds a parameter that the URL does not have.
std::string WithDefault(const std::string& url, const std::string& key, const std::string& value) {
  if (absl::StrContains(url, key + "=")) return url;
  return absl::StrCat(url, absl::StrContains(url, '?') ? "&" : "?", key, "=", value);
}

class Postgresql final : public Dialect {
 public:
  explicit Postgresql(const std::string& url) : url_(url), name_(StoreForLog(url)) {}

  const std::string& name() const override { return name_; }
  bool is_postgresql() const override { return true; }
  size_t rows_at_once() const override { return 256; }  // a statement is a round trip

  absl::Status OpenWriter(soci::session& session) override {
    OpenReader(session);
    if (absl::Status locked = Lock(session); !locked.ok()) return locked;
    return MakeDurable(session);
  }

  void OpenReader(soci::session& session) override {
    // A server that no longer answers must become an error, not a wait for ever.
    std::string url = WithDefault(url_, "connect_timeout", "10");
    url = WithDefault(url, "tcp_user_timeout", "20000");
    url = WithDefault(url, "application_name", "polymoe-server");
    session.open(soci::postgresql, url);
    session << "SET client_encoding = 'UTF8'";
    session << "SET client_min_messages = 'warning'";
    // When this machine dies, the lock must not outlive it for hours.
    session << "SET tcp_keepalives_idle = 5";
    session << "SET tcp_keepalives_interval = 5";
    session << "SET tcp_keepalives_count = 3";
  }

  absl::StatusCode CodeOf(const std::exception& error) const override {
    const auto* of_server = dynamic_cast<const soci::postgresql_soci_error*>(&error);
    return of_server != nullptr && of_server->sqlstate() == "53100" ? absl::StatusCode::kResourceExhausted  // disk_full
                                                                    : absl::StatusCode::kUnavailable;
  }

  // PostgreSQL holds valid UTF-8 without NUL.
  std::string Fit(std::string text) const override {
    return absl::StrReplaceAll(ToUtf8(text), {{absl::string_view("\0", 1), "\xEF\xBF\xBD"}});
  }

  // The views read the documents with jsonb, which refuses the escape of a NUL.
  std::string FitJson(std::string json) const override {
    for (size_t at = json.find('\\'); at != std::string::npos; at = json.find('\\', at + 2)) {
      if (json.compare(at, 6, "\\u0000") == 0) json.replace(at, 6, "\\ufffd");
    }
    return Fit(std::move(json));
  }

 private:
  // Waits a little: the connection of a coordinator that was just killed may still be on its way out.
  absl::Status Lock(soci::session& writer) {
    writer << "SET lock_timeout = '3s'";
    try {
      writer << "SELECT pg_advisory_lock(" << kLockKey << ")";
    } catch (const soci::postgresql_soci_error& error) {
      if (error.sqlstate() == "55P03") return StoreInUse(name_);  // lock_not_available
      throw;
    }
    writer << "SET lock_timeout = 0";
    return absl::OkStatus();
  }

  absl::Status MakeDurable(soci::session& writer) {
    std::string fsync, synchronous;
    writer << "SHOW fsync", soci::into(fsync);
    if (fsync != "on") {
      return absl::FailedPreconditionError(absl::StrCat(
          "store ", name_, ": this server runs with fsync = off, so that a power cut loses what was acknowledged; set fsync = on"));
    }
    writer << "SHOW synchronous_commit", soci::into(synchronous);
    if (synchronous == "off") writer << "SET synchronous_commit = on";  // the other values wait for the disk, or for more
    return absl::OkStatus();
  }

  const std::string url_, name_;
};

}  // namespace

std::unique_ptr<Dialect> MakePostgresql(const std::string& url) {
  return std::make_unique<Postgresql>(url);
}

}  // namespace polymoe
