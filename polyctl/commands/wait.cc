#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <CLI/CLI.hpp>

#include "common/spec/names.h"
#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/format.h"
#include "polyctl/render/jobs.h"

namespace polymoe::polyctl {
namespace {

struct Options {
  std::vector<std::string> jobs;
  std::string timeout;
  OutputOptions output;
};

absl::StatusOr<absl::Time> Deadline(const std::string& timeout) {
  if (timeout.empty()) return absl::InfiniteFuture();
  absl::Duration duration;
  if (!absl::ParseDuration(timeout, &duration) || duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("--timeout: '", timeout, "' is not a duration; write 90s, 10m or 1h30m"));
  }
  return absl::Now() + duration;
}

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  POLYMOE_ASSIGN_OR_RETURN(const absl::Time deadline, Deadline(options.timeout));
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Job> chosen, ChooseJobs(client, options.jobs, {}));
  Console& console = cli.console;
  const absl::StatusOr<std::vector<v1::Job>> jobs = AwaitJobs(client, IdsOf(chosen), deadline, [&](const v1::Job& job) {
    if (IsFinal(job.state())) console.err << JobLine(job, console.clock.Now()) << std::endl;
  });
  if (absl::IsDeadlineExceeded(jobs.status())) {
    console.err << "polyctl: not all jobs ended within " << options.timeout << "; they go on\n";
    return ExitCode::kWaitTimeout;
  }
  if (!jobs.ok()) return jobs.status();
  if (options.output.structured()) {
    PrintJson(ToJsonArray(*jobs), options.output, console);
  } else {
    for (const v1::Job& job : *jobs) console.out << job.id() << "  " << StateName(job.state()) << "\n";
  }
  return OutcomeOf(*jobs);
}

}  // namespace

void AddWait(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(root, cli, "wait", "wait until jobs have ended; the exit code tells how (`polyctl help exit-codes`)",
                 "  polyctl wait moe-relu moe-polynorm\n"
                 "  polyctl wait moe-relu --timeout 10m || echo \"failed, cancelled or not done: $?\"\n",
                 [&cli, options] { return Run(cli, *options); });
  command->group(kJobCommands);
  AddJobs(*command, options->jobs, 1);
  command->add_option("--timeout", options->timeout, "give up after this long, with exit code 7 (default: never)")
      ->type_name("DURATION");
  AddOutputFlag(*command, options->output, "table|json|yaml");
}

}  // namespace polymoe::polyctl
