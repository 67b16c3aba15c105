#include <algorithm>
#include <map>
#include <memory>
#include <set>

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

// What a job has reported.
struct Reported {
  std::set<std::string> names;
  double tokens_per_second = 0;  // mean of all steps: that of one step is mostly noise
};

absl::StatusOr<std::vector<Reported>> ReportedBy(const Client& client, const std::vector<v1::Job>& jobs) {
  std::vector<Reported> all;
  for (const v1::Job& job : jobs) {
    v1::QueryRequest request;
    request.set_job(job.id());
    request.set_max_points(1);
    POLYMOE_ASSIGN_OR_RETURN(const v1::QueryResponse response, client.Query(request));
    Reported& reported = all.emplace_back();
    for (const v1::Series& series : response.series()) {
      reported.names.insert(series.name());
      if (series.name() == "tokens_per_second" && !series.points().empty()) reported.tokens_per_second = series.points(0).value();
    }
  }
  return all;
}

// The training loss and every validation loss that all jobs have.
absl::StatusOr<std::vector<std::string>> CommonMetrics(const std::vector<Reported>& reported) {
  std::vector<std::string> common;
  for (const std::string& name : reported[0].names) {
    const bool everywhere =
        std::all_of(reported.begin(), reported.end(), [&](const Reported& r) { return r.names.contains(name); });
    if (everywhere && (name == "loss" || absl::StartsWith(name, "val_loss/"))) common.push_back(name);
  }
  if (common.empty())
    return absl::FailedPreconditionError("these jobs have no metric in common yet; try again when all of them train");
  return common;
}

Comparison ToComparison(const std::vector<v1::Job>& jobs, const std::vector<Reported>& reported,
                        const v1::CompareResponse& response) {
  Comparison comparison{.tokens = {response.tokens().begin(), response.tokens().end()}};
  std::map<std::string, size_t> row_of;
  for (size_t i = 0; i < jobs.size(); ++i) {
    row_of[jobs[i].id()] = i;
    const v1::JobSpec& spec = jobs[i].file().spec();
    comparison.jobs.push_back({jobs[i].id(), ActivationName(spec.model().activation()),
                               ComputeShape(spec.model(), spec.data().sequence_length()).total, reported[i].tokens_per_second});
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
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<Reported> reported, ReportedBy(client, jobs));
  if (metrics.empty()) {
    POLYMOE_ASSIGN_OR_RETURN(metrics, CommonMetrics(reported));
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
        ToComparison(jobs, reported, response),
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
