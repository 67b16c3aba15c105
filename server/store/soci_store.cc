// The store over SOCI: what SQLite and PostgreSQL have in common. One session writes, one reads.
#include <soci/soci.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

#include "common/status.h"
#include "server/store/dialect.h"
#include "server/store/migrations.h"
#include "server/store/store.h"

namespace polymoe {
namespace {

// One row of a table as SOCI binds it. They stay where they are until their statement has run.
struct DocumentCells {
  static constexpr int kColumns = 3;
  std::string id, request_id, json;

  void Bind(soci::statement& s) {
    for (const std::string* text : {&id, &request_id, &json}) s.exchange(soci::use(*text));
  }
};

struct PointCells {
  static constexpr int kColumns = 7;
  std::string job;
  int name, attempt;
  long long step, tokens, time_ms;
  double value;
  soci::indicator indicator;  // NULL for NaN

  void Bind(soci::statement& s) {
    s.exchange(soci::use(job));
    for (const int* number : {&name, &attempt}) s.exchange(soci::use(*number));
    for (const long long* number : {&step, &tokens, &time_ms}) s.exchange(soci::use(*number));
    s.exchange(soci::use(value, indicator));
  }
};

struct LogCells {
  static constexpr int kColumns = 6;
  std::string job;
  int rank, attempt;
  long long number, time_ms;
  std::string text;

  void Bind(soci::statement& s) {
    s.exchange(soci::use(job));
    for (const int* value : {&rank, &attempt}) s.exchange(soci::use(*value));
    for (const long long* value : {&number, &time_ms}) s.exchange(soci::use(*value));
    s.exchange(soci::use(text));
  }
};

// INSERTs of `at_once` rows each. To update on a conflict, `rows` must not repeat themselves (PostgreSQL refuses that).
template <class Cells>
void InsertRows(soci::session& session, size_t at_once, const std::string& table, const std::vector<Cells>& rows,
                const std::string& conflict) {
  for (size_t begin = 0; begin < rows.size();) {
    // Prepared for as many rows, and used while there are so many; what is left needs another one.
    const size_t count = std::min(at_once, rows.size() - begin);
    std::vector<Cells> bound(count);
    std::string sql = absl::StrCat("INSERT INTO ", table, " VALUES ");
    soci::statement statement(session);
    for (size_t i = 0, parameter = 0; i < count; ++i) {
      for (int column = 0; column < Cells::kColumns; ++column) {
        absl::StrAppend(&sql, column > 0 ? ", :p" : i > 0 ? "), (:p" : "(:p", parameter++);
      }
      bound[i].Bind(statement);
    }
    absl::StrAppend(&sql, ") ON CONFLICT ", conflict);
    statement.alloc();
    statement.prepare(sql);
    statement.define_and_bind();
    for (; begin + count <= rows.size(); begin += count) {
      std::copy_n(rows.begin() + begin, count, bound.begin());
      statement.execute(true);
    }
  }
}

class SociStore final : public Store {
 public:
  explicit SociStore(std::unique_ptr<Dialect> dialect) : dialect_(std::move(dialect)) {}

  absl::Status Open() {
    absl::Status opened;
    POLYMOE_RETURN_IF_ERROR(Guarded("open " + dialect_->name(), [&] {
      opened = dialect_->OpenWriter(writer_);
      if (opened.ok()) opened = Migrate(*dialect_, writer_);
      if (!opened.ok()) return;
      LoadNames();
      dialect_->OpenReader(reader_);
    }));
    return opened;
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
    std::map<int, std::string> wanted;
    {
      const std::lock_guard lock(names_mutex_);
      for (const std::string& name : names) {
        if (const auto it = name_ids_.find(dialect_->Fit(name)); it != name_ids_.end()) wanted[it->second] = name;
      }
      if (names.empty()) {
        for (const auto& [name, id] : name_ids_) wanted[id] = name;
      }
    }
    std::map<std::string, std::vector<Point>> series;
    if (wanted.empty()) return series;
    POLYMOE_RETURN_IF_ERROR(Read("read points", [&] {
      series.clear();
      ReadSeries(job, wanted, !names.empty(), series);
    }));
    return series;
  }

  absl::StatusOr<std::vector<LogRow>> ReadLogs(const std::string& job, uint32_t attempt, uint32_t rank) override {
    std::vector<LogRow> rows;
    POLYMOE_RETURN_IF_ERROR(Read("read logs", [&] {
      rows.clear();
      LogRow row{.job = job, .rank = rank};
      long long number = 0, time_ms = 0;
      int of_attempt = 0;
      const int of_rank = static_cast<int>(rank);
      const std::string only = attempt == 0 ? "" : absl::StrCat(" AND attempt = ", attempt);
      soci::statement select =
          (reader_.prepare << "SELECT attempt, number, time_ms, text FROM logs WHERE job = :job AND rank = :rank" << only
                           << " ORDER BY attempt, number",
           soci::use(job), soci::use(of_rank), soci::into(of_attempt), soci::into(number), soci::into(time_ms),
           soci::into(row.text));
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
  // Runs f; SOCI's exceptions stop here.
  template <class F>
  absl::Status Guarded(const std::string& doing, const F& f) {
    try {
      f();
      return absl::OkStatus();
    } catch (const std::exception& e) {
      return {dialect_->CodeOf(e), absl::StrCat("store: cannot ", doing, ": ", e.what())};
    }
  }

  // One that fails is tried once more, on a new connection: the old one may be gone, and unlike the writer's nothing hangs on it.
  template <class F>
  absl::Status Read(const std::string& doing, const F& f) {
    const std::lock_guard lock(read_mutex_);
    if (Guarded(doing, f).ok()) return absl::OkStatus();
    return Guarded(doing, [&] {
      reader_.close();
      dialect_->OpenReader(reader_);
      f();
    });
  }

  void LoadNames() {
    int id = 0;
    std::string name;
    soci::statement select = (writer_.prepare << "SELECT id, name FROM metric_names", soci::into(id), soci::into(name));
    select.execute();
    while (select.fetch()) name_ids_[name] = id;
  }

  template <class Row>
  absl::StatusOr<std::vector<Row>> LoadDocuments(const std::string& table) {
    std::vector<Row> rows;
    POLYMOE_RETURN_IF_ERROR(Read("load " + table, [&] {
      rows.clear();
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
    std::map<std::string, const Row*> newest;
    for (const Row& row : rows) newest[row.id] = &row;
    std::vector<DocumentCells> cells;
    for (const auto& [id, row] : newest) cells.push_back({id, dialect_->Fit(row->request_id), dialect_->FitJson(row->json)});
    InsertRows(writer_, dialect_->rows_at_once(), table, cells, "(id) DO UPDATE SET json = excluded.json");
  }

  int NameId(const std::string& name) {
    const std::string fit = dialect_->Fit(name);
    const std::lock_guard lock(names_mutex_);
    const auto [it, added] = name_ids_.try_emplace(fit, static_cast<int>(name_ids_.size()) + 1);
    if (added) writer_ << "INSERT INTO metric_names (id, name) VALUES (:id, :name)", soci::use(it->second), soci::use(fit);
    return it->second;
  }

  void WritePoints(const std::vector<PointRow>& rows) {
    // In the order of the primary key.
    std::map<std::tuple<absl::string_view, absl::string_view, uint32_t, uint64_t>, const PointRow*> newest;
    for (const PointRow& row : rows) newest[{row.job, row.name, row.point.attempt, row.point.step}] = &row;
    std::vector<PointCells> cells;
    cells.reserve(newest.size());
    for (const auto& [key, row] : newest) {
      const Point& point = row->point;
      cells.push_back({row->job, NameId(row->name), static_cast<int>(point.attempt), static_cast<long long>(point.step),
                       static_cast<long long>(point.tokens), static_cast<long long>(point.time_ms), point.value,
                       std::isnan(point.value) ? soci::i_null : soci::i_ok});
    }
    InsertRows(
        writer_, dialect_->rows_at_once(), "points", cells,
        "(job, name, attempt, step) DO UPDATE SET tokens = excluded.tokens, time_ms = excluded.time_ms, value = excluded.value");
  }

  void WriteLogs(const std::vector<LogRow>& rows) {
    std::vector<LogCells> cells;
    cells.reserve(rows.size());
    for (const LogRow& row : rows) {
      cells.push_back({row.job, static_cast<int>(row.rank), static_cast<int>(row.attempt), static_cast<long long>(row.number),
                       static_cast<long long>(row.time_ms), dialect_->Fit(row.text)});
    }
    InsertRows(writer_, dialect_->rows_at_once(), "logs", cells, "DO NOTHING");
  }

  // In the order of the primary key: no sort, and the series changes only with the name. `only` these names, or all of the job.
  void ReadSeries(const std::string& job, const std::map<int, std::string>& names, bool only,
                  std::map<std::string, std::vector<Point>>& series) {
    int name = 0, attempt = 0;
    long long step = 0, tokens = 0, time_ms = 0;
    double value = 0;
    soci::indicator indicator = soci::i_ok;
    const auto id = [](std::string* out, const auto& entry) { absl::StrAppend(out, entry.first); };
    const std::string of_names = only ? absl::StrCat(" AND name IN (", absl::StrJoin(names, ", ", id), ")") : "";
    // Row by row: SOCI's bulk fetch cuts SQLite's integers to 32 bits.
    soci::statement select = (reader_.prepare << "SELECT name, attempt, step, tokens, time_ms, value FROM points WHERE job = :job"
                                              << of_names << " ORDER BY name, attempt, step",
                              soci::use(job), soci::into(name), soci::into(attempt), soci::into(step), soci::into(tokens),
                              soci::into(time_ms), soci::into(value, indicator));
    select.execute();
    std::vector<Point>* points = nullptr;
    int current = 0;
    while (select.fetch()) {
      if (points == nullptr || name != current) {
        current = name;
        const auto known = names.find(name);
        points = known == names.end() ? nullptr : &series[known->second];
      }
      if (points == nullptr) continue;  // of a name that was committed since
      points->push_back({static_cast<uint32_t>(attempt), static_cast<uint64_t>(step), static_cast<uint64_t>(tokens), time_ms,
                         indicator == soci::i_null ? std::numeric_limits<double>::quiet_NaN() : value});
    }
  }

  const std::unique_ptr<Dialect> dialect_;  // goes after the sessions: it holds the lock
  std::mutex write_mutex_, read_mutex_, names_mutex_;
  soci::session writer_, reader_;
  std::map<std::string, int> name_ids_;  // as the database holds them
};

}  // namespace

std::string StoreForLog(const std::string& url) {
  std::string shown = url;
  const auto hide = [&](size_t from, const char* until) {
    const size_t end = std::min(shown.find_first_of(until, from), shown.size());
    shown.replace(from, end - from, "***");
  };
  const size_t host = shown.find("://"), at = shown.find('@');
  const size_t colon = host == std::string::npos ? host : shown.find(':', host + 3);
  if (colon != std::string::npos && at != std::string::npos && colon < at) hide(colon + 1, "@");
  if (const size_t password = shown.find("password="); password != std::string::npos) hide(password + 9, "&");
  return shown;
}

absl::Status StoreInUse(const std::string& name) {
  return absl::FailedPreconditionError(
      absl::StrCat("store ", name, " is in use by another polymoe-server; stop that one or choose another --store"));
}

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& url) {
  absl::string_view path = url;
  std::unique_ptr<Dialect> dialect;
  if (absl::StartsWith(url, "postgresql://")) {
    dialect = MakePostgresql(url);
  } else if (absl::ConsumePrefix(&path, "sqlite:") && !path.empty()) {
    dialect = MakeSqlite(std::string(path));
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("store '", url, "' is not known; write sqlite:PATH or postgresql://USER@HOST:PORT/DATABASE"));
  }
  auto store = std::make_unique<SociStore>(std::move(dialect));
  POLYMOE_RETURN_IF_ERROR(store->Open());
  return store;
}

}  // namespace polymoe
