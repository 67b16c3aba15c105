#include <memory>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/jobs.h"

namespace polymoe::polyctl {
namespace {

struct Options {
  std::string job;
  bool follow = false;
  uint32_t attempt = 0;
  uint32_t rank = 0;
  uint32_t tail = 0;
};

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const v1::Job job, client.Get(options.job));
  const uint32_t ranks = job.file().spec().resources().ranks();
  if (options.rank >= ranks) {
    return absl::NotFoundError(
        absl::StrCat("job ", job.id(), " has ", ranks, ranks == 1 ? " rank" : " ranks", "; --rank goes from 0 to ", ranks - 1));
  }
  v1::StreamLogsRequest request;
  request.set_job(job.id());  // by id: a name may come to mean a newer job when the stream is opened again
  request.set_follow(options.follow);
  request.set_attempt(options.attempt);
  request.set_rank(options.rank);
  request.set_tail(options.tail);
  uint32_t attempt = 0;
  POLYMOE_RETURN_IF_ERROR(client.Logs(request, [&](const v1::LogLine& line) {
    if (line.attempt() != attempt && (attempt > 0 || line.attempt() > 1) && options.attempt == 0)
      cli.console.err << "--- attempt " << line.attempt() << " ---" << std::endl;
    attempt = line.attempt();
    cli.console.out << line.text() << std::endl;
  }));
  if (attempt == 0) cli.console.err << "No lines: " << JobLine(job, cli.console.clock.Now()) << "\n";
  return ExitCode::kOk;
}

}  // namespace

void AddLogs(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "logs", "what a rank of a job printed",
                                 "  polyctl logs moe-polynorm -f\n"
                                 "  polyctl logs moe-polynorm --attempt 2 --rank 1 --tail 20\n",
                                 [&cli, options] { return Run(cli, *options); });
  command->group(kJobCommands);
  command->add_option("job", options->job, "job id, or a name (the newest job of that name)")->type_name("JOB")->required();
  command->add_flag("-f,--follow", options->follow, "go on until the job ends");
  command->add_option("--attempt", options->attempt, "only this attempt (default: all, in order)")->type_name("N");
  command->add_option("--rank", options->rank, "whose log")->type_name("R")->default_str("0");
  command->add_option("--tail", options->tail, "only the last N lines")->type_name("N");
}

}  // namespace polymoe::polyctl
