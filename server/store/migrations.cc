#include "server/store/migrations.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "server/store/views.h"

namespace polymoe {
namespace {

struct Statement {
  std::string sqlite;
  std::string postgresql = sqlite;
};

// The column of a point's value, where NULL stands for a NaN: SQLite has no NaN to put there.
Statement WithValue(const std::string& sql) {
  return {absl::StrReplaceAll(sql, {{"$VALUE", "p.value"}}),
          absl::StrReplaceAll(sql, {{"$VALUE", "coalesce(p.value, CAST('NaN' AS DOUBLE PRECISION))"}})};
}

// Version N is what the first N steps make. A step that was ever released does not change; what is new is a new step.
const std::vector<std::vector<Statement>>& Steps() {
  static const auto& steps = *new std::vector<std::vector<Statement>>{
      {
          {"CREATE TABLE schema_version (version INTEGER NOT NULL)"},
          {"INSERT INTO schema_version VALUES (0)"},
          {"CREATE TABLE jobs (id TEXT PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, json TEXT NOT NULL)"},
          {"CREATE TABLE metric_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)"},
          // value is NULL for a NaN, which SQLite has no other way to keep.
          {"CREATE TABLE points (job TEXT NOT NULL, name INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL, "
           "tokens INTEGER NOT NULL, time_ms INTEGER NOT NULL, value REAL, PRIMARY KEY (job, name, attempt, step)) WITHOUT ROWID",
           "CREATE TABLE points (job TEXT NOT NULL, name INTEGER NOT NULL, attempt INTEGER NOT NULL, step BIGINT NOT NULL, "
           "tokens BIGINT NOT NULL, time_ms BIGINT NOT NULL, value DOUBLE PRECISION, PRIMARY KEY (job, name, attempt, step))"},
          {"CREATE TABLE logs (job TEXT NOT NULL, rank INTEGER NOT NULL, attempt INTEGER NOT NULL, number INTEGER NOT NULL, "
           "time_ms INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (job, rank, attempt, number)) WITHOUT ROWID",
           "CREATE TABLE logs (job TEXT NOT NULL, rank INTEGER NOT NULL, attempt INTEGER NOT NULL, number BIGINT NOT NULL, "
           "time_ms BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (job, rank, attempt, number))"},
      },
      {
          {"CREATE TABLE ablations (id TEXT PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, json TEXT NOT NULL)"},
      },
      {
          {views::kRunsSqlite, views::kRunsPostgresql},
          {views::kTrainedAttemptsSqlite, views::kTrainedAttemptsPostgresql},
          WithValue(views::kRunPoints),
          WithValue(views::kCurvePoints),
          {views::kRunCurves},
      },
  };
  return steps;
}

int VersionOf(const Dialect& dialect, soci::session& session) {
  int tables = 0, version = 0;
  session << (dialect.is_postgresql() ? "SELECT COUNT(to_regclass('schema_version'))"
                                      : "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'"),
      soci::into(tables);
  if (tables > 0) session << "SELECT version FROM schema_version", soci::into(version);
  return version;
}

}  // namespace

absl::Status Migrate(const Dialect& dialect, soci::session& session) {
  const int version = VersionOf(dialect, session), newest = static_cast<int>(Steps().size());
  if (version > newest) {
    return absl::FailedPreconditionError(absl::StrCat("store ", dialect.name(), " has schema version ", version,
                                                      ", this program knows up to ", newest,
                                                      "; run the newer polymoe-server that wrote it, or choose another --store"));
  }
  for (int next = version + 1; next <= newest; ++next) {
    soci::transaction transaction(session);
    for (const Statement& statement : Steps()[next - 1])
      session << (dialect.is_postgresql() ? statement.postgresql : statement.sqlite);
    session << "UPDATE schema_version SET version = " << next;
    transaction.commit();
  }
  return absl::OkStatus();
}

}  // namespace polymoe
