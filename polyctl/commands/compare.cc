#include <algorithm>
#include <map>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/spec/model_shape.h"
#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/comparison.h"
#include "polyctl/render/format.h"

namespace polymoe::polyctl {
namespace {

struct Options {
  std::vector<std::string> jobs, labels, metrics;
  uint32_t grid = 8;
  OutputOptions output;
};

// The training loss and every validation loss that all jobs have.
absl::StatusOr<std::vector<std::string>> CommonMetrics(const Client& client, const std::vector<v1::Job>& jobs) {
  std::map<std::string, size_t> seen;
  for (const v1::Job& job : jobs) {
    v1::QueryRequest request;
    request.set_job(job.id());
    request.set_max_points(1);
    POLYMOE_ASSIGN_OR_RETURN(const v1::QueryResponse response, client.Query(request));
    for (const v1::Series& series : response.series()) ++seen[series.name()];
  }
  std::vector<std::string> names;
  for (const auto& [name, count] : seen) {
    if (count == jobs.size() && (name == "loss" || absl::StartsWith(name, "val_loss/"))) names.push_back(name);
  }
  if (names.empty())
    return absl::FailedPreconditionError("these jobs have no metric in common yet; try again when all of them train");
  return names;
}

Comparison ToComparison(const std::vector<v1::Job>& jobs, const v1::CompareResponse& response) {
  Comparison comparison{.tokens = {response.tokens().begin(), response.tokens().end()}};
  std::map<std::string, size_t> row_of;
  for (const v1::Job& job : jobs) {
    row_of[job.id()] = comparison.jobs.size();
    const v1::JobSpec& spec = job.file().spec();
    comparison.jobs.push_back({job.id(), ActivationName(spec.model().activation()),
                               ComputeShape(spec.model(), spec.data().sequence_length()).total,
                               job.progress().tokens_per_second()});
  }
  for (const v1::CompareRow& row : response.rows()) {
    if (comparison.metrics.empty() || comparison.metrics.back().name != row.name()) {
      comparison.metrics.push_back({row.name(), std::vector<std::vector<std::optional<double>>>(jobs.size())});
    }
    auto& values = comparison.metrics.back().values[row_of[row.job()]];
    for (const v1::CompareCell& cell : row.cells()) values.push_back(cell.present() ? std::optional(cell.value()) : std::nullopt);
  }
  return comparison;
}

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, ChooseJobs(client, options.jobs, options.labels));
  if (jobs.empty()) return absl::NotFoundError("no job to compare; name some, or choose them with -l KEY=VALUE");
  std::vector<std::string> metrics;
  for (const std::string& name : options.metrics) {
    if (std::find(metrics.begin(), metrics.end(), name) == metrics.end()) metrics.push_back(name);
  }
  if (metrics.empty()) {
    POLYMOE_ASSIGN_OR_RETURN(metrics, CommonMetrics(client, jobs));
  }
  v1::CompareRequest request;
  request.set_grid(options.grid);
  for (const v1::Job& job : jobs) request.add_jobs(job.id());
  for (const std::string& name : metrics) request.add_names(name);
  POLYMOE_ASSIGN_OR_RETURN(const v1::CompareResponse response, client.Compare(request));
  if (options.output.structured()) {
    PrintJson(ToJson(response), options.output, cli.console);
  } else {
    cli.console.out << RenderComparison(
        ToComparison(jobs, response),
        {.headers = !options.output.no_headers, .colour = cli.console.colour, .width = cli.console.width});
  }
  return ExitCode::kOk;
}

}  // namespace

void AddCompare(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "compare", "jobs side by side at equal tokens: which activation converged best",
                                 "  polyctl compare -l study=activations\n"
                                 "  polyctl compare polynorm swiglu --metric val_loss/python --grid 4\n",
                                 [&cli, options] { return Run(cli, *options); });
  command->group(kJobCommands);
  AddJobs(*command, options->jobs, 0);
  AddRepeated(*command, "-l,--label", options->labels, "all jobs with this label; may be repeated")->type_name("KEY=VALUE");
  AddRepeated(*command, "--metric", options->metrics,
              "metric to compare, lower is better (default: loss and all val_loss/*); may be repeated")
      ->type_name("NAME");
  command->add_option("--grid", options->grid, "columns: equal parts of the tokens that all jobs reached")
      ->check(Between(1, 1000))
      ->default_str("8")
      ->type_name("N");
  AddOutputFlags(*command, options->output, "table|json|yaml");
}

}  // namespace polymoe::polyctl
