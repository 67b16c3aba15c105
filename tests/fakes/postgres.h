// A real PostgreSQL server of the installed packages (deploy/install-deps.sh), for tests: in a folder of its own, on a Unix socket there,
// with fsync on. It does not meet a cluster that the machine may have, and goes with its owner, by process id.
#ifndef POLYMOE_TESTS_FAKES_POSTGRES_H_
#define POLYMOE_TESTS_FAKES_POSTGRES_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/fakes/temp_dir.h"

namespace polymoe {

class PostgresServer {
 public:
  // `settings` are "name=value" of postgresql.conf. Takes connections when it returns.
  explicit PostgresServer(const std::vector<std::string>& settings = {});
  ~PostgresServer();

  // URL of a new empty database.
  std::string NewDatabase();

  // Rows as psql prints them, columns separated by '|'.
  std::string Query(const std::string& url, const std::string& sql) const;

  // SIGKILL to each of its processes, as a machine that dies would; then Start makes it recover.
  void Kill();
  void Start();

 private:
  std::string Url(const std::string& database) const;

  TempDir dir_;
  std::vector<std::string> argv_;
  pid_t pid_ = -1;
  int databases_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_FAKES_POSTGRES_H_
