// polymoe-worker: the daemon of one node. See daemon.h.
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "common/cpus.h"
#include "common/file.h"
#include "common/log.h"
#include "common/metrics/exposer.h"
#include "common/process.h"
#include "common/rpc/channel.h"
#include "common/status.h"
#include "common/version.h"
#include "worker/daemon/daemon.h"

namespace polymoe {
namespace {

constexpr int kBadInput = 2;

struct Flags {
  DaemonOptions daemon;
  double stop_grace_seconds = 30;
  std::string metrics_address = "127.0.0.1:0";
  std::string address_file;
  LogFormat log_format = LogFormat::kText;
};

std::string Hostname() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "worker";
}

void AddFlags(CLI::App* app, Flags* flags) {
  DaemonOptions& daemon = flags->daemon;
  daemon.server = kDefaultServer;
  daemon.name = Hostname();
  daemon.host = Hostname();
  daemon.work_dir = "./polymoe-worker";
  daemon.threads_per_slot = 0;
  app->set_version_flag("--version", kVersion);
  app->add_option("--server", daemon.server, "HOST:PORT of the coordinator")->envname("POLYMOE_SERVER")->capture_default_str();
  app->add_option("--name", daemon.name, "Name of this worker, unique in the cluster")->capture_default_str();
  app->add_option("--slots", daemon.slots, "Ranks that run here at the same time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app->add_option("--threads-per-slot", daemon.threads_per_slot, "CPU threads of a rank (default: usable CPUs / slots)")
      ->check(CLI::Range(1, 65536));
  app->add_option("--work-dir", daemon.work_dir, "Folder of this worker: job files and logs")->capture_default_str();
  app->add_option("--checkpoint-root", daemon.checkpoint_root,
                  "Folder or s3://BUCKET/PREFIX of the checkpoints, the same for all workers (default: WORK_DIR/checkpoints)");
  app->add_option("--trainer", daemon.trainer, "Path of polymoe-train (default: beside this program)");
  app->add_option("--bind", daemon.bind, "Where ranks meet those on other workers (default: loopback)")
      ->type_name("ADDRESS|INTERFACE");
  app->add_option("--metrics", flags->metrics_address, "HOST:PORT of /metrics; port 0 takes a free one")->capture_default_str();
  app->add_option("--log-format", flags->log_format, "text or json")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, LogFormat>{{"text", LogFormat::kText}, {"json", LogFormat::kJson}}));
  app->add_option("--address-file", flags->address_file, "Written at the start: JSON with the address of /metrics");
  app->add_option("--stop-grace", flags->stop_grace_seconds, "Seconds between SIGTERM and SIGKILL when ranks are stopped")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
}

// Defaults that depend on other flags; trainers run elsewhere, so paths become absolute.
void CompleteFlags(Flags* flags) {
  DaemonOptions& daemon = flags->daemon;
  const auto cpus = static_cast<uint32_t>(UsableCpus().size());
  if (daemon.threads_per_slot == 0) daemon.threads_per_slot = std::max(1u, cpus / daemon.slots);
  if (daemon.checkpoint_root.empty()) daemon.checkpoint_root = absl::StrCat(daemon.work_dir, "/checkpoints");
  if (daemon.trainer.empty()) daemon.trainer = absl::StrCat(ProgramDirectory(), "/polymoe-train");
  for (std::string* path : {&daemon.work_dir, &daemon.checkpoint_root, &daemon.trainer}) {
    if (!IsUrl(*path)) *path = std::filesystem::absolute(*path).lexically_normal();
  }
  daemon.stop_grace = absl::Seconds(flags->stop_grace_seconds);
}

// Until a signal or a Drain message, which arrives as a signal too.
absl::Status Run(const Flags& flags, const sigset_t& signals) {
  POLYMOE_ASSIGN_OR_RETURN(auto exposer, MetricsExposer::Start(flags.metrics_address, "polymoe-worker"));
  POLYMOE_ASSIGN_OR_RETURN(auto daemon, Daemon::Start(flags.daemon, exposer->registry(), [] { kill(getpid(), SIGTERM); }));
  if (!flags.address_file.empty()) {
    const nlohmann::json addresses = {{"metrics", exposer->address()}};
    POLYMOE_RETURN_IF_ERROR(WriteFileDurably(flags.address_file, addresses.dump() + "\n"));
  }
  LogInfo("worker started", {{"worker", flags.daemon.name},
                             {"server", flags.daemon.server},
                             {"slots", absl::StrCat(flags.daemon.slots)},
                             {"threads_per_slot", absl::StrCat(flags.daemon.threads_per_slot)},
                             {"metrics", exposer->address()}});
  int signal = 0;
  sigwait(&signals, &signal);
  // A second Ctrl-C ends the daemon at once, and its ranks die with it.
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  pthread_sigmask(SIG_UNBLOCK, &interrupt, nullptr);
  daemon->Drain();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("PolyMoE worker daemon: runs the ranks of training jobs on this machine");
  AddFlags(&app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? EXIT_SUCCESS : kBadInput;
  }
  CompleteFlags(&flags);
  const sigset_t signals = BlockStopSignals();
  InitLog({.format = flags.log_format, .program = "polymoe-worker"});
  const absl::Status status = Run(flags, signals);
  if (status.ok()) return EXIT_SUCCESS;
  std::fprintf(stderr, "polymoe-worker: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? kBadInput : EXIT_FAILURE;
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  return polymoe::Main(argc, argv);
}
