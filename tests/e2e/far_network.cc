#include "tests/e2e/far_network.h"

#include <signal.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/file.h"
#include "tests/fakes/program.h"

namespace polymoe {
namespace {

pid_t StartOrDie(std::vector<std::string> argv) {
  const auto pid = StartProcess({.argv = std::move(argv)});
  POLYMOE_CHECK(pid.ok(), "%s", pid.status().ToString().c_str());
  return *pid;
}

void ShellOrDie(const std::string& command) {
  const Output output = RunProgram({"/bin/sh", "-c", command});
  POLYMOE_CHECK(output.exit_code == 0, "%s: %s", command.c_str(), output.err.c_str());
}

}  // namespace

FarNetwork::FarNetwork() : holder_(StartOrDie({"/usr/bin/unshare", "-n", "/bin/sleep", "infinity"})) {
  const auto namespace_of = [](const std::string& process) {
    std::error_code ignored;
    return std::filesystem::read_symlink(absl::StrCat("/proc/", process, "/ns/net"), ignored).string();
  };
  POLYMOE_CHECK(WaitUntil([&] { return namespace_of(absl::StrCat(holder_)) != namespace_of("self"); }), "no second namespace");
  ShellOrDie(absl::StrCat("ip link set lo up && ip link add near type veth peer name far netns ", holder_));
  Shell(absl::StrCat("ip addr add ", kNear, "/24 dev near && ip link set near up"),
        absl::StrCat("ip link set lo up && ip addr add ", kFar, "/24 dev far && ip link set far up"));
}

FarNetwork::~FarNetwork() {
  forwarders_.push_back(holder_);
  for (const pid_t pid : forwarders_) kill(pid, SIGKILL);
  for (const pid_t pid : forwarders_) Reap(pid);
}

std::vector<std::string> FarNetwork::behind() const {
  return {"/usr/bin/nsenter", "-t", absl::StrCat(holder_), "-n"};
}

void FarNetwork::Shell(const std::string& here, const std::string& there) const {
  ShellOrDie(here);
  ShellOrDie(absl::StrCat("nsenter -t ", holder_, " -n sh -c '", there, "'"));
}

void FarNetwork::StartForwarder(const std::vector<std::string>& behind, const std::string& from, const std::string& to, int port,
                                const std::string& file) {
  std::vector<std::string> argv = behind;
  argv.insert(argv.end(), {BuiltProgram("../tests/forward"), from, to, absl::StrCat(port), file});
  forwarders_.push_back(StartOrDie(argv));
  POLYMOE_CHECK(WaitUntil([&] { return PathExists(file); }), "no forwarder from %s to %s", from.c_str(), to.c_str());
}

void FarNetwork::Forward(int port, const std::string& dir) {
  StartForwarder({}, kNear, "127.0.0.1", port, dir + "/forwards-near");
  StartForwarder(behind(), "127.0.0.1", kNear, port, dir + "/forwards-far");
}

void FarNetwork::Cut() {
  Shell(absl::StrCat("ip route add blackhole ", kFar), absl::StrCat("ip route add blackhole ", kNear));
}

void FarNetwork::Heal() {
  Shell(absl::StrCat("ip route del blackhole ", kFar), absl::StrCat("ip route del blackhole ", kNear));
}

}  // namespace polymoe
