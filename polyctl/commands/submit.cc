#include <memory>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/ids.h"
#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/jobs.h"

namespace polymoe::polyctl {
namespace {

struct Options {
  FileSource source;
  std::string request_id;
  bool wait = false;
  bool follow = false;
  OutputOptions output;
};

void PrintHints(const v1::SubmitResponse& response, Console& console) {
  const std::string& id = response.job().id();
  console.err << (response.existed() ? "This request had made job " : "Submitted job ") << id << ".\n"
              << "  polyctl watch " << id << "      live progress\n"
              << "  polyctl logs -f " << id << "    its log\n"
              << "  polyctl cancel " << id << "     stop it\n";
}

absl::StatusOr<ExitCode> Follow(const Client& client, const std::string& id, bool logs, Console& console) {
  console.err << "Ctrl-C leaves; the job goes on.\n";
  if (logs) {
    v1::StreamLogsRequest request;
    request.set_job(id);
    request.set_follow(true);
    POLYMOE_RETURN_IF_ERROR(client.Logs(request, [&](const v1::LogLine& line) { console.err << line.text() << std::endl; }));
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, AwaitJobs(client, {id}, absl::InfiniteFuture(), [](const v1::Job&) {}));
  console.err << JobLine(jobs[0], console.clock.Now()) << "\n";
  return OutcomeOf(jobs);
}

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  v1::SubmitRequest request;
  POLYMOE_ASSIGN_OR_RETURN(*request.mutable_file(), ReadJobFile(options.source, cli.console));
  request.set_request_id(options.request_id.empty() ? NewUuid() : options.request_id);
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  const absl::StatusOr<v1::SubmitResponse> response = client.Submit(request);
  if (!response.ok()) return MayHaveHappened(response.status(), request.request_id(), "two jobs");
  if (options.output.structured()) {
    PrintJson(ToJson(response->job()), options.output, cli.console);
  } else {
    cli.console.out << response->job().id() << std::endl;
  }
  PrintHints(*response, cli.console);
  if (!options.wait && !options.follow) return ExitCode::kOk;
  return Follow(client, response->job().id(), options.follow, cli.console);
}

}  // namespace

void AddSubmit(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(root, cli, "submit", "submit a job file; prints the job's id",
                 "  polyctl submit job.yaml\n"
                 "  polyctl submit job.yaml --set spec.model.activation.kind=polynorm --set metadata.labels.seed=2\n"
                 "  polyctl render job.yaml | polyctl submit - --follow\n"
                 "  id=$(polyctl submit job.yaml) && polyctl wait $id && polyctl get $id\n",
                 [&cli, options] { return Run(cli, *options); });
  command->group(kJobCommands);
  AddFileSource(*command, options->source);
  AddRequestId(*command, options->request_id, "job");
  command->add_flag("--wait", options->wait, "wait until the job has ended; exit code as `polyctl wait`");
  command->add_flag("-f,--follow", options->follow, "as --wait, with the job's log on stderr");
  AddOutputFlag(*command, options->output, "name|json|yaml");
}

}  // namespace polymoe::polyctl
