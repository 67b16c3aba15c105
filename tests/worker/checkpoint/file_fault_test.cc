// Faults of the disk: every operation of the storage goes wrong in every way, and every call that changes a file or folder fails once, or
// is the last that the process makes. The calls of the C library are replaced in this program, so that nothing in the product knows of it.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "tests/fakes/program.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/checkpoint/fault_scenarios.h"
#include "tests/worker/checkpoint/faulty_storage.h"
#include "worker/checkpoint/local_storage.h"

namespace {

constexpr int kCrashed = 77;  // exit code

// One thread at a time calls while this is armed: the writer's.
struct Plan {
  bool armed = false, crash = false;
  int at = 0, count = 0;
  std::vector<std::string> done;  // "fsync /d/x", "rename /d/x.tmp /d/x"
};
Plan plan;

// Whether this call must fail, with errno set. Does not return when it is where the process ends.
bool Fails(const std::string& call) {
  if (!plan.armed) return false;
  const bool struck = plan.count++ == plan.at;
  if (struck && plan.crash) _exit(kCrashed);
  if (struck) errno = EIO;
  if (!struck) plan.done.push_back(call);
  return struck;
}

std::string PathOf(int fd) {
  char path[4096];
  const ssize_t n = readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), path, sizeof(path));
  return std::string(path, std::max<ssize_t>(0, n));
}

template <typename Function>
Function Next(Function, const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
  static const auto real = Next(&write, "write");
  if (fd > 2 && Fails("write " + PathOf(fd))) {
    const int error = errno;
    real(fd, data, size / 2 / 4096 * 4096);  // a part of it gets there, in whole blocks, as direct writes are
    errno = error;
    return -1;
  }
  return real(fd, data, size);
}
int ftruncate(int fd, off_t size) noexcept {
  static const auto real = Next(&ftruncate, "ftruncate");
  return Fails("ftruncate " + PathOf(fd)) ? -1 : real(fd, size);
}
// Nobody cuts the power here: not to wait for the disk makes these tests ten times as fast.
int fsync(int fd) {
  return Fails("fsync " + PathOf(fd)) ? -1 : 0;
}
int rename(const char* from, const char* to) noexcept {
  static const auto real = Next(&rename, "rename");
  return Fails(absl::StrCat("rename ", from, " ", to)) ? -1 : real(from, to);
}
int link(const char* from, const char* to) noexcept {
  static const auto real = Next(&link, "link");
  return Fails(absl::StrCat("link ", from, " ", to)) ? -1 : real(from, to);
}
int unlink(const char* path) noexcept {
  static const auto real = Next(&unlink, "unlink");
  return Fails(absl::StrCat("unlink ", path)) ? -1 : real(path);
}
int unlinkat(int folder, const char* path, int flags) noexcept {
  static const auto real = Next(&unlinkat, "unlinkat");
  return Fails(absl::StrCat("unlinkat ", path)) ? -1 : real(folder, path, flags);
}
int remove(const char* path) noexcept {
  static const auto real = Next(&remove, "remove");
  return Fails(absl::StrCat("remove ", path)) ? -1 : real(path);
}
int rmdir(const char* path) noexcept {
  static const auto real = Next(&rmdir, "rmdir");
  return Fails(absl::StrCat("rmdir ", path)) ? -1 : real(path);
}
int mkdir(const char* path, mode_t mode) noexcept {
  static const auto real = Next(&mkdir, "mkdir");
  return Fails(absl::StrCat("mkdir ", path)) ? -1 : real(path, mode);
}
int open(const char* path, int flags, ...) {
  static const auto real = Next(&open, "open");
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = va_arg(arguments, mode_t);
  va_end(arguments);
  return (flags & O_CREAT) != 0 && Fails(absl::StrCat("create ", path)) ? -1 : real(path, flags, mode);
}
}

namespace polymoe {
namespace {

// Runs `work` with the fault at call `at`; whether it says that it succeeded.
bool WithFault(int at, bool crash, const std::function<absl::Status()>& work) {
  plan = {.armed = true, .crash = crash, .at = at};
  const bool succeeded = work().ok();
  plan.armed = false;
  return succeeded;
}

// What came of a scenario with a fault.
struct Struck {
  bool struck, succeeded;
};

// `run` does a scenario with the fault at a call, for each call in turn until there is none left.
void AtEveryCall(const std::function<Struck(const Scenario& scenario, Storage& storage, int at)>& run) {
  for (const Scenario& scenario : Scenarios()) {
    int at = 0;
    for (bool struck = true; struck; ++at) {
      SCOPED_TRACE(absl::StrCat(scenario.name, ", call ", at));
      const TempDir dir;
      LocalStorage storage(dir.path() + "/ck");
      ASSERT_NO_FATAL_FAILURE(Prepare(storage, scenario));
      const Struck result = run(scenario, storage, at);
      struck = result.struck;
      EXPECT_TRUE(result.succeeded || struck);
      ASSERT_NO_FATAL_FAILURE(ExpectSound(storage, result.succeeded));
      if (::testing::Test::HasFailure()) break;
    }
    EXPECT_GT(at, 30) << "calls seen in: " << scenario.name;
  }
}

TEST(FileFault, AnyCallMayFail) {
  AtEveryCall([](const Scenario& scenario, Storage& storage, int at) -> Struck {
    const bool succeeded = WithFault(at, false, [&] { return scenario.faulted(storage); });
    return {plan.count > at, succeeded};
  });
}

TEST(FileFault, AnyCallMayBeTheLast) {
  AtEveryCall([](const Scenario& scenario, Storage& storage, int at) -> Struck {
    const pid_t child = fork();
    if (child == 0) _exit(WithFault(at, true, [&] { return scenario.faulted(storage); }) ? 0 : 1);
    const ProcessExit exit = Reap(child);
    EXPECT_TRUE(exit.exit_code == kCrashed || exit.ok()) << Describe(exit);
    return {exit.exit_code == kCrashed, exit.ok()};
  });
}

// In the layer of the storage, as it would be with any kind of it.
TEST(StorageFault, AnyOperationMayGoWrong) {
  for (const Scenario& scenario : Scenarios()) {
    for (const Fault fault : {Fault::kRefused, Fault::kLost, Fault::kDead}) {
      bool struck = true;
      for (int at = 0; struck; ++at) {
        SCOPED_TRACE(absl::StrCat(scenario.name, ", fault ", static_cast<int>(fault), ", operation ", at));
        const TempDir dir;
        LocalStorage storage(dir.path());
        ASSERT_NO_FATAL_FAILURE(Prepare(storage, scenario));
        FaultyStorage faulty(storage, fault, at);
        const bool succeeded = scenario.faulted(faulty).ok();
        struck = faulty.struck();
        ASSERT_NO_FATAL_FAILURE(ExpectSound(storage, succeeded));
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

// What a power failure leaves is what had been synced: a file before it gets its name, its folder before the marker.
TEST(FileFault, EverythingIsOnTheDiskBeforeTheMarker) {
  const TempDir dir;
  LocalStorage storage(dir.path() + "/new/ck");
  ASSERT_TRUE(WithFault(-1, false, [&] { return SaveStep(storage, 3, 1); }));
  std::vector<std::string> unsynced;  // files and folders
  const auto add = [&](const std::string& path) { unsynced.push_back(path); };
  const auto is_synced = [&](const std::string& path) {
    return std::find(unsynced.begin(), unsynced.end(), path) == unsynced.end();
  };
  const auto parent = [](const std::string& path) { return std::filesystem::path(path).parent_path().string(); };
  bool marked = false;
  for (const std::string& call : plan.done) {
    const std::vector<std::string> words = absl::StrSplit(call, ' ');
    if (words[0] == "write" || words[0] == "ftruncate") add(words[1]);
    if (words[0] == "mkdir") add(parent(words[1]));
    if (words[0] == "fsync") std::erase(unsynced, words[1]);
    if (words[0] != "rename" && words[0] != "link") continue;
    EXPECT_TRUE(is_synced(words[1])) << call;
    if (absl::EndsWith(words[2], "/COMMITTED")) {
      EXPECT_TRUE(unsynced.empty()) << unsynced[0];
      marked = true;
    }
    add(parent(words[2]));
  }
  EXPECT_TRUE(marked);
  EXPECT_TRUE(unsynced.empty()) << unsynced[0];
}

}  // namespace
}  // namespace polymoe
