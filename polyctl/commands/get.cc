#include <memory>

#include <CLI/CLI.hpp>

#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/jobs.h"

namespace polymoe::polyctl {
namespace {

struct Options {
  std::string job;
  OutputOptions output;
};

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const v1::Job job, client.Get(options.job));
  Console& console = cli.console;
  if (options.output.structured()) {
    PrintJson(ToJson(job), options.output, console);
  } else if (options.output.parsed() == OutputFormat::kName) {
    console.out << job.id() << "\n";
  } else {
    console.out << JobPage(job, console.clock.Now(), console.colour);
  }
  return ExitCode::kOk;
}

}  // namespace

void AddGet(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "get", "everything about one job: progress, attempts, checkpoint, losses",
                                 "  polyctl get moe-polynorm\n"
                                 "  polyctl get moe-polynorm -o json | jq .progress\n",
                                 [&cli, options] { return Run(cli, *options); });
  command->group(kJobCommands);
  command->add_option("job", options->job, "job id, or a name (the newest job of that name)")->type_name("JOB")->required();
  AddOutputFlag(*command, options->output, "table|json|yaml|name");
}

}  // namespace polymoe::polyctl
