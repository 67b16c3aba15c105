// The store over SOCI. SQLite in WAL mode with synchronous=FULL: a commit is on the disk when it returns.
#include <fcntl.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "common/file.h"
#include "common/status.h"
#include "server/store/store.h"

namespace polymoe {
namespace {

constexpr int kSchemaVersion = 2;

constexpr const char* kSchema[] = {
    "CREATE TABLE schema_version (version INTEGER NOT NULL)",
    "CREATE TABLE jobs (id TEXT PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, json TEXT NOT NULL)",
    "CREATE TABLE ablations (id TEXT PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, json TEXT NOT NULL)",
    "CREATE TABLE metric_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    // value is NULL for a NaN, which SQLite has no other way to keep.
    "CREATE TABLE points (job TEXT NOT NULL, name INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL, tokens "
    "INTEGER "
    "NOT NULL, time_ms INTEGER NOT NULL, value REAL, PRIMARY KEY (job, name, attempt, step)) WITHOUT ROWID",
    "CREATE TABLE logs (job TEXT NOT NULL, rank INTEGER NOT NULL, attempt INTEGER NOT NULL, number INTEGER NOT NULL, time_ms "
    "INTEGER "
    "NOT NULL, text TEXT NOT NULL, PRIMARY KEY (job, rank, attempt, number)) WITHOUT ROWID",
};

// Runs f; SOCI's exceptions stop here.
template <class F>
absl::Status Guarded(const std::string& doing, const F& f) {
  try {
    f();
    return absl::OkStatus();
  } catch (const std::exception& e) {
    const std::string message = absl::StrCat("store: cannot ", doing, ": ", e.what());
    return absl::StrContains(message, "disk is full") ? absl::ResourceExhaustedError(message) : absl::UnavailableError(message);
  }
}

class SociStore final : public Store {
 public:
  ~SociStore() override {
    if (lock_fd_ >= 0) close(lock_fd_);
  }

  absl::Status Open(const std::string& path) {
    lock_fd_ = open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_fd_ < 0) return ErrnoStatus(errno, "create", path + ".lock");
    if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("store ", path, " is in use by another polymoe-server; stop that one or choose another --store"));
    }
    return Guarded("open " + path, [&] {
      for (soci::session* session : {&writer_, &reader_}) {
        session->open(soci::sqlite3, absl::StrCat("db=\"", path, "\" timeout=10"));
        *session << "PRAGMA journal_mode=WAL";
        *session << "PRAGMA synchronous=FULL";
      }
      Migrate();
    });
  }

  absl::Status Commit(const StoreBatch& batch) override {
    const std::lock_guard lock(write_mutex_);
    return Guarded("commit", [&] {
      soci::transaction transaction(writer_);
      WriteDocuments("jobs", batch.jobs);
      WriteDocuments("ablations", batch.ablations);
      WritePoints(batch.points);
      WriteLogs(batch.logs);
      transaction.commit();
    });
  }

  absl::StatusOr<std::vector<JobRow>> LoadJobs() override { return LoadDocuments<JobRow>("jobs"); }
  absl::StatusOr<std::vector<AblationRow>> LoadAblations() override { return LoadDocuments<AblationRow>("ablations"); }

  absl::StatusOr<std::map<std::string, std::vector<Point>>> ReadPoints(const std::string& job,
                                                                       const std::vector<std::string>& names) override {
    const std::lock_guard lock(read_mutex_);
    std::map<std::string, std::vector<Point>> series;
    POLYMOE_RETURN_IF_ERROR(Guarded("read points", [&] {
      if (names.empty()) return ReadSeries(job, "", series);
      for (const std::string& name : names) ReadSeries(job, name, series);
    }));
    return series;
  }

  absl::StatusOr<std::vector<LogRow>> ReadLogs(const std::string& job, uint32_t attempt, uint32_t rank) override {
    const std::lock_guard lock(read_mutex_);
    std::vector<LogRow> rows;
    POLYMOE_RETURN_IF_ERROR(Guarded("read logs", [&] {
      LogRow row{.job = job, .rank = rank};
      long long number = 0, time_ms = 0;
      int of_attempt = 0;
      const int wanted = static_cast<int>(attempt), of_rank = static_cast<int>(rank);
      soci::statement select =
          (reader_.prepare
               << "SELECT attempt, number, time_ms, text FROM logs WHERE job = :job AND rank = :rank AND (:a1 = 0 OR attempt = "
                  ":a2) ORDER BY attempt, number",
           soci::use(job), soci::use(of_rank), soci::use(wanted), soci::use(wanted), soci::into(of_attempt), soci::into(number),
           soci::into(time_ms), soci::into(row.text));
      select.execute();
      while (select.fetch()) {
        row.attempt = of_attempt;
        row.number = number;
        row.time_ms = time_ms;
        rows.push_back(row);
      }
    }));
    return rows;
  }

 private:
  void Migrate() {
    int tables = 0;
    writer_ << "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'", soci::into(tables);
    if (tables == 0) {
      soci::transaction transaction(writer_);
      for (const char* statement : kSchema) writer_ << statement;
      writer_ << "INSERT INTO schema_version VALUES (" << kSchemaVersion << ")";
      transaction.commit();
    }
    int version = 0;
    writer_ << "SELECT version FROM schema_version", soci::into(version);
    if (version != kSchemaVersion) {
      throw std::runtime_error(absl::StrCat("it has schema version ", version, ", this program knows ", kSchemaVersion));
    }
    Row row;
    soci::statement select = (writer_.prepare << "SELECT id, name FROM metric_names", soci::into(row.id), soci::into(row.name));
    select.execute();
    while (select.fetch()) name_ids_[row.name] = row.id;
  }

  struct Row {
    int id = 0;
    std::string name;
  };

  template <class Row>
  absl::StatusOr<std::vector<Row>> LoadDocuments(const std::string& table) {
    const std::lock_guard lock(read_mutex_);
    std::vector<Row> rows;
    POLYMOE_RETURN_IF_ERROR(Guarded("load " + table, [&] {
      Row row;
      soci::statement select = (reader_.prepare << "SELECT id, request_id, json FROM " + table, soci::into(row.id),
                                soci::into(row.request_id), soci::into(row.json));
      select.execute();
      while (select.fetch()) rows.push_back(row);
    }));
    return rows;
  }

  template <class Row>
  void WriteDocuments(const std::string& table, const std::vector<Row>& rows) {
    if (rows.empty()) return;
    Row row;
    soci::statement insert = (writer_.prepare << "INSERT INTO " + table +
                                                     " (id, request_id, json) VALUES (:id, :request, :json) ON CONFLICT (id) DO "
                                                     "UPDATE SET json = excluded.json",
                              soci::use(row.id), soci::use(row.request_id), soci::use(row.json));
    for (const Row& r : rows) {
      row = r;
      insert.execute(true);
    }
  }

  int NameId(const std::string& name) {
    const auto [it, added] = name_ids_.try_emplace(name, static_cast<int>(name_ids_.size()) + 1);
    if (added) writer_ << "INSERT INTO metric_names (id, name) VALUES (:id, :name)", soci::use(it->second), soci::use(name);
    return it->second;
  }

  void WritePoints(const std::vector<PointRow>& rows) {
    if (rows.empty()) return;
    std::string job;
    int name = 0, attempt = 0;
    long long step = 0, tokens = 0, time_ms = 0;
    double value = 0;
    soci::indicator indicator = soci::i_ok;
    soci::statement insert =
        (writer_.prepare
             << "INSERT INTO points VALUES (:job, :name, :attempt, :step, :tokens, :time, :value) ON CONFLICT DO UPDATE SET "
                "tokens = excluded.tokens, time_ms = excluded.time_ms, value = excluded.value",
         soci::use(job), soci::use(name), soci::use(attempt), soci::use(step), soci::use(tokens), soci::use(time_ms),
         soci::use(value, indicator));
    for (const PointRow& r : rows) {
      job = r.job;
      name = NameId(r.name);
      attempt = static_cast<int>(r.point.attempt);
      step = static_cast<long long>(r.point.step);
      tokens = static_cast<long long>(r.point.tokens);
      time_ms = r.point.time_ms;
      value = r.point.value;
      indicator = std::isnan(value) ? soci::i_null : soci::i_ok;
      insert.execute(true);
    }
  }

  void WriteLogs(const std::vector<LogRow>& rows) {
    if (rows.empty()) return;
    std::string job, text;
    int attempt = 0, rank = 0;
    long long number = 0, time_ms = 0;
    soci::statement insert =
        (writer_.prepare << "INSERT INTO logs VALUES (:job, :rank, :attempt, :number, :time, :text) ON CONFLICT DO NOTHING",
         soci::use(job), soci::use(rank), soci::use(attempt), soci::use(number), soci::use(time_ms), soci::use(text));
    for (const LogRow& r : rows) {
      job = r.job;
      rank = static_cast<int>(r.rank);
      attempt = static_cast<int>(r.attempt);
      number = static_cast<long long>(r.number);
      time_ms = r.time_ms;
      text = r.text;
      insert.execute(true);
    }
  }

  // One name, or all when it is empty.
  void ReadSeries(const std::string& job, const std::string& only, std::map<std::string, std::vector<Point>>& series) {
    std::string name;
    int attempt = 0;
    long long step = 0, tokens = 0, time_ms = 0;
    double value = 0;
    soci::indicator indicator = soci::i_ok;
    soci::statement select =
        (reader_.prepare
             << "SELECT n.name, p.attempt, p.step, p.tokens, p.time_ms, p.value FROM points p JOIN metric_names n ON n.id = p.name "
                "WHERE p.job = :job AND (:n1 = '' OR n.name = :n2) ORDER BY p.attempt, p.step",
         soci::use(job), soci::use(only), soci::use(only), soci::into(name), soci::into(attempt), soci::into(step),
         soci::into(tokens), soci::into(time_ms), soci::into(value, indicator));
    select.execute();
    while (select.fetch()) {
      const double v = indicator == soci::i_null ? std::numeric_limits<double>::quiet_NaN() : value;
      series[name].push_back(
          {static_cast<uint32_t>(attempt), static_cast<uint64_t>(step), static_cast<uint64_t>(tokens), time_ms, v});
    }
  }

  int lock_fd_ = -1;
  std::mutex write_mutex_, read_mutex_;
  soci::session writer_, reader_;
  std::map<std::string, int> name_ids_;  // of the writer
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& url) {
  absl::string_view path = url;
  if (!absl::ConsumePrefix(&path, "sqlite:") || path.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("store '", url, "' is not known; write sqlite:PATH"));
  }
  auto store = std::make_unique<SociStore>();
  POLYMOE_RETURN_IF_ERROR(store->Open(std::string(path)));
  return store;
}

}  // namespace polymoe
