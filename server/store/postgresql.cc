// PostgreSQL through libpq. Two connections; the writer's holds an advisory lock of the database for as long as it lives, so that a
// process that lost its connection can no longer commit when another one may.
#include <soci/postgresql/soci-postgresql.h>

#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "server/store/dialect.h"
#include "server/store/store.h"

namespace polymoe {
namespace {

constexpr int64_t kLockKey = 0x706f6c796d6f65;   // "polymoe"
constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD

// Length of the UTF-8 character that `text` starts with; 0 when there is none that PostgreSQL holds.
size_t CharacterAt(absl::string_view text) {
  const auto byte = [&](size_t i) -> uint32_t { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const uint32_t first = byte(0);
  if (first < 0x80) return first == 0 ? 0 : 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  uint32_t code = first & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xD800 && code < 0xE000;
  return first < 0xC0 || first >= 0xF8 || code < kSmallest[length] || code > 0x10FFFF || is_surrogate ? 0 : length;
}

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

  absl::Status Open(soci::session& writer, soci::session& reader) override {
    // A server that no longer answers must become a failed commit, not a wait for ever.
    std::string url = WithDefault(url_, "connect_timeout", "10");
    url = WithDefault(url, "tcp_user_timeout", "20000");
    url = WithDefault(url, "application_name", "polymoe-server");
    for (soci::session* session : {&writer, &reader}) {
      session->open(soci::postgresql, url);
      *session << "SET client_encoding = 'UTF8'";
      *session << "SET client_min_messages = 'warning'";
      // When this machine dies, the lock must not outlive it for hours.
      *session << "SET tcp_keepalives_idle = 5";
      *session << "SET tcp_keepalives_interval = 5";
      *session << "SET tcp_keepalives_count = 3";
    }
    if (absl::Status locked = Lock(writer); !locked.ok()) return locked;
    return MakeDurable(writer);
  }

  absl::StatusCode CodeOf(const std::exception& error) const override {
    const auto* of_server = dynamic_cast<const soci::postgresql_soci_error*>(&error);
    return of_server != nullptr && of_server->sqlstate() == "53100" ? absl::StatusCode::kResourceExhausted  // disk_full
                                                                    : absl::StatusCode::kUnavailable;
  }

  // PostgreSQL holds valid UTF-8 without NUL.
  std::string Fit(std::string text) const override {
    size_t good = 0;
    while (good < text.size() && CharacterAt(absl::string_view(text).substr(good)) > 0) {
      good += CharacterAt(absl::string_view(text).substr(good));
    }
    if (good == text.size()) return text;
    std::string fit = text.substr(0, good);
    for (size_t at = good; at < text.size();) {
      const size_t length = CharacterAt(absl::string_view(text).substr(at));
      absl::StrAppend(&fit, length > 0 ? absl::string_view(text).substr(at, length) : kReplacement);
      at += length > 0 ? length : 1;
    }
    return fit;
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
