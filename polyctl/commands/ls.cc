#include <memory>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/format.h"
#include "polyctl/render/jobs.h"

namespace polymoe::polyctl {
namespace {

constexpr char kStates[] = "pending|starting|running|succeeded|failed|cancelled";

struct Options {
  std::vector<std::string> labels;
  std::vector<std::string> states;
  bool watch = false;
  OutputOptions output;
};

absl::StatusOr<v1::ListJobsRequest> ToRequest(const Options& options) {
  v1::ListJobsRequest request;
  request.set_page_size(500);
  POLYMOE_ASSIGN_OR_RETURN(const auto labels, ParseLabels(options.labels));
  for (const auto& [key, value] : labels) (*request.mutable_labels())[key] = value;
  for (const std::string& name : options.states) {
    const std::optional<v1::JobState> state = ParseState(name);
    if (!state.has_value()) return absl::InvalidArgumentError(absl::StrCat("--state: '", name, "' is not one of ", kStates));
    request.add_states(*state);
  }
  return request;
}

bool Selected(const v1::Job& job, const v1::ListJobsRequest& request) {
  bool state = request.states().empty();
  for (const int wanted : request.states()) state |= job.state() == wanted;
  for (const auto& [key, value] : request.labels()) {
    const auto it = job.file().metadata().labels().find(key);
    if (it == job.file().metadata().labels().end() || it->second != value) return false;
  }
  return state;
}

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  POLYMOE_ASSIGN_OR_RETURN(const v1::ListJobsRequest request, ToRequest(options));
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  Console& console = cli.console;
  if (options.watch) {
    POLYMOE_RETURN_IF_ERROR(client.Watch({}, absl::InfiniteFuture(), [&](const v1::Job& job) {
      if (Selected(job, request)) console.out << JobLine(job, console.clock.Now()) << std::endl;
      return true;
    }));
    return ExitCode::kOk;
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, client.List(request));
  if (options.output.structured()) {
    PrintJson(ToJsonArray(jobs), options.output, console);
    return ExitCode::kOk;
  }
  const Table table = JobsTable(jobs, console.clock.Now(), options.output.parsed() == OutputFormat::kWide);
  if (options.output.parsed() == OutputFormat::kName) {
    PrintNames(table, console);
  } else if (jobs.empty()) {
    console.err << "No jobs.\n";
  } else {
    PrintTable(table, options.output, console);
  }
  return ExitCode::kOk;
}

}  // namespace

void AddLs(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "ls", "list jobs, newest first",
                                 "  polyctl ls\n"
                                 "  polyctl ls -l study=activations --state running\n"
                                 "  polyctl ls -o json | jq -r '.[].id'\n",
                                 [&cli, options] { return Run(cli, *options); });
  command->group(kJobCommands);
  AddRepeated(*command, "-l,--label", options->labels, "only jobs with this label; may be repeated")->type_name("KEY=VALUE");
  AddRepeated(*command, "--state", options->states, "only jobs in this state; may be repeated")->type_name(kStates);
  command->add_flag("-w,--watch", options->watch, "go on with a line for each change");
  AddOutputFlags(*command, options->output, "table|wide|json|yaml|name");
}

}  // namespace polymoe::polyctl
