#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <CLI/CLI.hpp>

#include "common/spec/model_shape.h"
#include "common/spec/spec_diff.h"
#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/ablation_comparison.h"
#include "polyctl/render/braille.h"
#include "polyctl/render/comparison.h"
#include "polyctl/render/config_diff.h"
#include "polyctl/render/format.h"

namespace polymoe::polyctl {
namespace {

constexpr uint32_t kColumns = 8, kMilestones = 100;  // without --grid: of jobs, of an ablation
constexpr int kWidestChart = 110, kChartHeight = 14;

struct Options {
  std::vector<std::string> names, labels, metrics;
  uint32_t grid = 0;
  bool delta = false;
  OutputOptions output;
};

TableOptions ScreenOptions(const Options& options, const Console& console) {
  return {.headers = !options.output.no_headers, .colour = console.colour, .utf8 = console.utf8, .width = console.width};
}

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

// The curves of one metric: the validation loss where there is one.
absl::StatusOr<std::string> CurvesOf(const Client& client, const std::vector<v1::Job>& jobs,
                                     const std::vector<std::string>& metrics, const Console& console) {
  const auto validated =
      std::find_if(metrics.begin(), metrics.end(), [](const auto& m) { return absl::StartsWith(m, "val_loss/"); });
  Chart chart{.title = validated == metrics.end() ? metrics[0] : *validated};
  for (const v1::Job& job : jobs) {
    v1::QueryRequest request;
    request.set_job(job.id());
    request.add_names(chart.title);
    request.set_max_points(kMilestones);
    POLYMOE_ASSIGN_OR_RETURN(const v1::QueryResponse response, client.Query(request));
    ChartLine& line = chart.lines.emplace_back(ChartLine{.name = job.id(), .colour = chart.lines.size()});
    if (response.series().empty()) continue;
    for (const v1::SeriesPoint& point : response.series(0).points()) {
      if (std::isfinite(point.value())) {
        line.points.push_back({static_cast<double>(point.tokens()), point.value(), point.value(), point.value()});
      }
    }
  }
  return DrawChart(chart, {.colour = console.colour,
                           .utf8 = console.utf8,
                           .width = console.width > 0 ? std::min(console.width, kWidestChart) : 80,
                           .height = kChartHeight});
}

std::string ConfigsOf(const std::vector<v1::Job>& jobs, const TableOptions& options) {
  std::vector<const v1::JobSpec*> specs;
  std::vector<Cell> names;
  for (const v1::Job& job : jobs) {
    specs.push_back(&job.file().spec());
    names.push_back(job.id());
  }
  const Table table = DifferencesTable("JOB", names, DiffSpecs(specs));
  if (table.rows.empty()) return "";
  return absl::StrCat("\n", Paint("What differs in their configuration", Style::kBold, options.colour), "\n",
                      RenderTable(table, options));
}

absl::StatusOr<ExitCode> CompareJobs(const Client& client, const Options& options, Console& console) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, ChooseJobs(client, options.names, options.labels));
  if (jobs.empty()) return absl::NotFoundError("nothing to compare; name an ablation or jobs, or choose jobs with -l KEY=VALUE");
  if (options.delta) return absl::InvalidArgumentError("--delta: jobs have no baseline; name an ablation");
  std::vector<std::string> metrics;
  for (const std::string& name : options.metrics) {
    if (std::find(metrics.begin(), metrics.end(), name) == metrics.end()) metrics.push_back(name);
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<Reported> reported, ReportedBy(client, jobs));
  if (metrics.empty()) {
    POLYMOE_ASSIGN_OR_RETURN(metrics, CommonMetrics(reported));
  }
  v1::CompareRequest request;
  request.set_grid(options.grid == 0 ? kColumns : options.grid);
  for (const v1::Job& job : jobs) request.add_jobs(job.id());
  for (const std::string& name : metrics) request.add_names(name);
  POLYMOE_ASSIGN_OR_RETURN(const v1::CompareResponse response, client.Compare(request));
  if (options.output.structured()) {
    PrintJson(ToJson(response), options.output, console);
    return ExitCode::kOk;
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::string curves, CurvesOf(client, jobs, metrics, console));
  const TableOptions screen = ScreenOptions(options, console);
  console.out << RenderComparison(ToComparison(jobs, reported, response), screen) << "\n" << curves << ConfigsOf(jobs, screen);
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> PrintAblation(const v1::AblationComparison& comparison, const Options& options, Console& console) {
  for (const std::string& metric : options.metrics) {
    if (std::find(comparison.metrics().begin(), comparison.metrics().end(), metric) != comparison.metrics().end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--metric ", metric, ": this comparison has ", absl::StrJoin(comparison.metrics(), ", ")));
  }
  if (options.output.structured()) {
    PrintJson(ToJson(comparison), options.output, console);
  } else {
    console.out << RenderAblationComparison(comparison, options.metrics, options.delta, ScreenOptions(options, console));
  }
  return ExitCode::kOk;
}

// One name alone is an ablation's before it is a job's: comparing a job with itself says nothing.
absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  if (options.names.size() != 1 || !options.labels.empty()) return CompareJobs(client, options, cli.console);
  v1::CompareAblationRequest request;
  request.set_ablation(options.names[0]);
  request.set_grid(options.grid == 0 ? kMilestones : options.grid);
  request.set_runs(options.output.structured());
  const absl::StatusOr<v1::AblationComparison> comparison = client.CompareAblation(request);
  if (comparison.ok()) return PrintAblation(*comparison, options, cli.console);
  if (!IsNoAblation(comparison.status())) return comparison.status();
  absl::StatusOr<ExitCode> jobs = CompareJobs(client, options, cli.console);
  if (absl::IsNotFound(jobs.status()) && absl::IsNotFound(comparison.status())) {
    return absl::NotFoundError(absl::StrCat("there is no ablation and no job '", options.names[0], "'"));
  }
  return jobs;
}

}  // namespace

void AddCompare(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "compare", "arms of an ablation, or jobs, side by side at equal tokens",
                                 "  polyctl compare activations                      an ablation: verdicts, curves\n"
                                 "  polyctl compare activations --delta --metric val_loss/python\n"
                                 "  polyctl compare moe-polynorm moe-swiglu --grid 4\n"
                                 "  polyctl compare -l study=activations             jobs by their label\n",
                                 [&cli, options] { return Run(cli, *options); });
  command->group(kAblationCommands);
  command->add_option("names", options->names, "one ablation, or any number of jobs; by id or name (the newest of that name)")
      ->type_name("ABLATION/JOB");
  AddRepeated(*command, "-l,--label", options->labels, "all jobs with this label; may be repeated")->type_name("KEY=VALUE");
  AddRepeated(
      *command, "--metric", options->metrics,
      "metric to compare, lower is better (default: val_loss of an ablation, loss and all val_loss/* of jobs); may be repeated")
      ->type_name("NAME");
  command->add_flag("--delta", options->delta, "curves of the difference to the ablation's baseline");
  command
      ->add_option("--grid", options->grid,
                   "token milestones: columns of jobs (default 8), points of an ablation's curves (default 100)")
      ->check(Between(1, 1000))
      ->type_name("N");
  AddOutputFlags(*command, options->output, "table|json|yaml");
}

}  // namespace polymoe::polyctl
