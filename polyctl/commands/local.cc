#include <memory>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/local_cluster.h"

namespace polymoe::polyctl {
namespace {

std::string DefaultDir(const Console& console) {
  const std::string state = console.Env("XDG_STATE_HOME");
  return absl::StrCat(state.empty() ? console.Env("HOME") + "/.local/state" : state, "/polymoe/local");
}

absl::StatusOr<ExitCode> RunUp(Cli& cli, LocalOptions options) {
  if (options.dir.empty()) options.dir = DefaultDir(cli.console);
  cli.console.err << "Starting a coordinator and " << options.workers << " worker" << (options.workers == 1 ? "" : "s") << " in "
                  << options.dir << " ...\n";
  POLYMOE_ASSIGN_OR_RETURN(const std::string address, StartLocalCluster(options));
  cli.console.out << address << "\n";
  if (address != "127.0.0.1:7070") cli.console.err << "  export POLYMOE_SERVER=" << address << "    so that commands find it\n";
  cli.console.err << "  polyctl submit job.yaml                   train something\n"
                  << "  polyctl local down                        stop it; jobs and checkpoints stay\n";
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunStatus(Cli& cli, std::string dir) {
  if (dir.empty()) dir = DefaultDir(cli.console);
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<LocalProcess> processes, LocalProcesses(dir));
  Table table{.columns = {{"PROGRAM"}, {"PID", Align::kRight}, {"STATE"}, {"LOG"}}};
  bool all = true;
  for (const LocalProcess& p : processes) {
    all &= p.running;
    table.rows.push_back(
        {p.name, absl::StrCat(p.pid), p.running ? Cell("running", Style::kGreen) : Cell("ended", Style::kRed), p.log});
  }
  PrintTable(table, {}, cli.console);
  return all ? ExitCode::kOk : ExitCode::kError;
}

absl::StatusOr<ExitCode> RunDown(Cli& cli, std::string dir) {
  if (dir.empty()) dir = DefaultDir(cli.console);
  cli.console.err << "Stopping; trainers save a checkpoint first ...\n";
  POLYMOE_RETURN_IF_ERROR(StopLocalCluster(dir));
  cli.console.err << "Stopped. Jobs, metrics and checkpoints are in " << dir << ".\n";
  return ExitCode::kOk;
}

}  // namespace

void AddLocal(CLI::App& root, Cli& cli) {
  CLI::App* group = AddGroup(root, "local", "a cluster on this machine");
  group->group(kClusterCommands);
  auto options = std::make_shared<LocalOptions>();
  const auto add_dir = [&options](CLI::App* command) {
    command->group("Commands");
    command->add_option("--dir", options->dir, "where it keeps everything (default: ~/.local/state/polymoe/local)")
        ->type_name("DIR");
  };
  CLI::App* up = AddCommand(*group, cli, "up", "start a coordinator and workers; prints the coordinator's address",
                            "  polyctl local up --workers 2\n"
                            "  polyctl local up --port 17070 --metrics-port 19464 --dir /tmp/cluster\n",
                            [&cli, options] { return RunUp(cli, *options); });
  add_dir(up);
  up->add_option("--workers", options->workers, "worker daemons")->check(Between(1, 64))->default_str("1")->type_name("N");
  up->add_option("--slots-per-worker", options->slots_per_worker, "ranks that a worker runs at a time")
      ->check(Between(1, 64))
      ->default_str("1")
      ->type_name("N");
  up->add_option("--threads-per-slot", options->threads_per_slot, "CPU threads of a rank (default: cores shared out evenly)")
      ->check(Between(1, 4096))
      ->type_name("N");
  up->add_option("--port", options->port, "of the coordinator; 0 takes a free one")
      ->check(Between(0, 65535))
      ->default_str("7070")
      ->type_name("PORT");
  up->add_option("--metrics-port", options->metrics_port, "of its /metrics; 0 takes a free one")
      ->check(Between(0, 65535))
      ->default_str("9464")
      ->type_name("PORT");
  add_dir(AddCommand(*group, cli, "status", "what runs", "  polyctl local status\n",
                     [&cli, options] { return RunStatus(cli, options->dir); }));
  add_dir(
      AddCommand(*group, cli, "down", "stop it", "  polyctl local down\n", [&cli, options] { return RunDown(cli, options->dir); }));
}

}  // namespace polymoe::polyctl
