#include <memory>

#include <CLI/CLI.hpp>

#include "common/spec/names.h"
#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/format.h"

namespace polymoe::polyctl {
namespace {

// Goes on after an error, so that one wrong name does not save the others; the first error is the command's.
absl::StatusOr<ExitCode> Run(Cli& cli, const std::vector<std::string>& jobs) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  absl::Status first;
  for (const std::string& name : jobs) {
    const absl::StatusOr<v1::Job> job = client.Cancel(name);
    if (job.ok()) {
      cli.console.out << job->id() << "\n";
      cli.console.err << job->id() << ": " << (IsFinal(job->state()) ? StateName(job->state()) : "being cancelled") << "\n";
    } else if (first.ok()) {
      first = job.status();
    } else {
      cli.console.err << "polyctl: " << job.status().message() << "\n";
    }
  }
  if (!first.ok()) return first;
  return ExitCode::kOk;
}

}  // namespace

void AddCancel(CLI::App& root, Cli& cli) {
  auto jobs = std::make_shared<std::vector<std::string>>();
  CLI::App* command = AddCommand(root, cli, "cancel", "stop jobs for good; their checkpoints stay",
                                 "  polyctl cancel moe-relu\n"
                                 "  polyctl ls -l study=activations -o name | xargs polyctl cancel\n",
                                 [&cli, jobs] { return Run(cli, *jobs); });
  command->group(kJobCommands);
  AddJobs(*command, *jobs, 1);
}

}  // namespace polymoe::polyctl
