// Where the two databases differ: how they are opened and locked, what their errors mean, what text they can hold.
#ifndef POLYMOE_SERVER_STORE_DIALECT_H_
#define POLYMOE_SERVER_STORE_DIALECT_H_

#include <soci/soci.h>

#include <exception>
#include <memory>
#include <string>

#include "absl/status/status.h"

namespace polymoe {

class Dialect {
 public:
  virtual ~Dialect() = default;

  virtual const std::string& name() const = 0;  // of the store, for messages: a path, or a URL without its password
  virtual bool is_postgresql() const = 0;       // which statements are written for it

  virtual size_t rows_at_once() const = 0;  // of an INSERT

  // Opens the session that writes, so that a commit on it is durable when it returns, and takes the store for this process until the
  // dialect and the session go: FAILED_PRECONDITION when another one has it. May throw what SOCI throws.
  virtual absl::Status OpenWriter(soci::session& session) = 0;
  // Opens one that reads, at any time. Throws what SOCI throws.
  virtual void OpenReader(soci::session& session) = 0;

  virtual absl::StatusCode CodeOf(const std::exception& error) const = 0;

  // `text` as the database can hold it.
  virtual std::string Fit(std::string text) const = 0;
  // The same for JSON whose strings may hold the escape of a NUL.
  virtual std::string FitJson(std::string json) const = 0;
};

std::unique_ptr<Dialect> MakeSqlite(const std::string& path);
std::unique_ptr<Dialect> MakePostgresql(const std::string& url);

// A database in use, in the same words for both.
absl::Status StoreInUse(const std::string& name);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_STORE_DIALECT_H_
