#include "tests/fakes/postgres.h"

#include <fcntl.h>
#include <glob.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "common/check.h"
#include "common/file.h"
#include "common/process.h"
#include "tests/fakes/program.h"

namespace polymoe {
namespace {

// Of the newest version that is installed.
std::string BinDirectory() {
  glob_t found{};
  glob("/usr/lib/postgresql/*/bin/postgres", 0, nullptr, &found);
  POLYMOE_CHECK(found.gl_pathc > 0, "PostgreSQL is not installed: run deploy/install-deps.sh");
  std::string program = found.gl_pathv[found.gl_pathc - 1];
  globfree(&found);
  return program.substr(0, program.rfind('/'));
}

// PostgreSQL refuses to run as root.
std::vector<std::string> AsItsUser(const std::string& dir, std::vector<std::string> argv) {
  if (geteuid() != 0) return argv;
  const passwd* user = getpwnam("postgres");
  POLYMOE_CHECK(user != nullptr, "no user postgres: run deploy/install-deps.sh");
  POLYMOE_CHECK(chmod(dir.c_str(), 0711) == 0 && chown((dir + "/pg").c_str(), user->pw_uid, user->pw_gid) == 0);
  const std::vector<std::string> setpriv = {"/usr/bin/setpriv", absl::StrCat("--reuid=", user->pw_uid),
                                            absl::StrCat("--regid=", user->pw_gid), "--clear-groups", "--pdeathsig=KILL"};
  argv.insert(argv.begin(), setpriv.begin(), setpriv.end());
  return argv;
}

}  // namespace

PostgresServer::PostgresServer(const std::vector<std::string>& settings) {
  const std::string bin = BinDirectory(), pg = dir_.path() + "/pg", data = pg + "/data";
  POLYMOE_CHECK(mkdir(pg.c_str(), 0755) == 0);
  const Output made = RunProgram(AsItsUser(dir_.path(), {bin + "/initdb", "-D", data, "-U", "polymoe", "-A", "trust", "-E", "UTF8",
                                                         "--locale=C", "--no-sync", "--no-instructions"}));
  POLYMOE_CHECK(made.exit_code == 0, "initdb: %s", made.err.c_str());
  std::vector<std::string> argv = {bin + "/postgres",
                                   "-D",
                                   data,
                                   "-k",
                                   pg,
                                   "-c",
                                   "listen_addresses=",
                                   "-c",
                                   "shared_buffers=16MB",
                                   "-c",
                                   "recovery_init_sync_method=syncfs"};
  for (const std::string& setting : settings) argv.insert(argv.end(), {"-c", setting});
  argv_ = AsItsUser(dir_.path(), argv);
  Start();
}

PostgresServer::~PostgresServer() {
  if (pid_ < 0) return;
  kill(pid_, SIGQUIT);  // immediate shutdown
  Reap(pid_);
}

void PostgresServer::Start() {
  const std::string log_path = dir_.path() + "/log";
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  POLYMOE_CHECK(log >= 0, "open %s", log_path.c_str());
  const auto pid = StartProcess({.argv = argv_, .descriptors = {{log, 1}, {log, 2}}});
  close(log);
  POLYMOE_CHECK(pid.ok(), "%s", pid.status().ToString().c_str());
  pid_ = *pid;
  const std::string ready = BinDirectory() + "/pg_isready";
  POLYMOE_CHECK(WaitUntil([&] {
                  return RunProgram({ready, "-q", "-h", dir_.path() + "/pg"}).exit_code == 0;
                }),
                "PostgreSQL did not come up:\n%s", ReadFile(log_path).value_or("").c_str());
}

void PostgresServer::Kill() {
  // Each has a session of its own, so that no process group holds them.
  const std::string list = ReadFile(absl::StrCat("/proc/", pid_, "/task/", pid_, "/children")).value();
  kill(pid_, SIGKILL);
  std::vector<pid_t> children;
  for (const auto text : absl::StrSplit(list, ' ', absl::SkipWhitespace())) {
    pid_t child = 0;
    POLYMOE_CHECK(absl::SimpleAtoi(text, &child));
    kill(child, SIGKILL);
    children.push_back(child);
  }
  Reap(pid_);
  pid_ = -1;
  for (const pid_t child : children) {
    // Gone, or a zombie that init has not reaped yet.
    POLYMOE_CHECK(WaitUntil([&] { return ReadFile(absl::StrCat("/proc/", child, "/cmdline")).value_or("").empty(); }));
  }
}

std::string PostgresServer::Url(const std::string& database) const {
  return absl::StrCat("postgresql://polymoe@/", database, "?host=", dir_.path(), "/pg");
}

std::string PostgresServer::NewDatabase() {
  const std::string name = absl::StrCat("store", ++databases_);
  Query(Url("postgres"), "CREATE DATABASE " + name);
  return Url(name);
}

std::string PostgresServer::Query(const std::string& url, const std::string& sql) const {
  const Output answer = RunProgram({BinDirectory() + "/psql", url, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql});
  POLYMOE_CHECK(answer.exit_code == 0, "%s: %s", sql.c_str(), answer.err.c_str());
  return std::string(absl::StripSuffix(answer.out, "\n"));
}

}  // namespace polymoe
