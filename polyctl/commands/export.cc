// export: every point that counts, for notebooks.
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/csv.h"

namespace polymoe::polyctl {
namespace {

constexpr char kFormats[] = "csv|jsonl";
constexpr uint64_t kStepsAtOnce = 20'000;  // of one metric: about a megabyte, below what a message may hold

struct Options {
  std::vector<std::string> names, metrics;
  std::string format = "csv", out;
};

using Sink = std::function<absl::Status(const std::string&)>;

struct Run {
  std::string job, arm;
  uint64_t seed = 0, last_step = 0;
};

Run RunOf(const v1::Job& job) {
  return {job.id(), job.ablation().arm(), job.has_ablation() ? job.ablation().seed() : job.file().spec().train().seed(),
          job.progress().step()};
}

// The jobs that a name means: those of the ablation, else the job.
absl::StatusOr<std::vector<Run>> RunsOf(const Client& client, const std::string& name) {
  std::vector<Run> runs;
  const absl::StatusOr<v1::Ablation> ablation = client.GetAblation(name);
  if (ablation.ok()) {
    for (const v1::AblationRun& run : ablation->runs()) {
      POLYMOE_ASSIGN_OR_RETURN(const v1::Job job, client.Get(run.job()));
      runs.push_back({job.id(), run.arm(), run.seed(), job.progress().step()});
    }
    return runs;
  }
  if (!IsNoAblation(ablation.status())) return ablation.status();
  POLYMOE_ASSIGN_OR_RETURN(const v1::Job job, client.Get(name));
  runs.push_back(RunOf(job));
  return runs;
}

absl::StatusOr<std::vector<std::string>> MetricsOf(const Client& client, const Run& run) {
  v1::QueryRequest request;
  request.set_job(run.job);
  request.set_max_points(1);
  POLYMOE_ASSIGN_OR_RETURN(const v1::QueryResponse response, client.Query(request));
  std::vector<std::string> metrics;
  for (const v1::Series& series : response.series()) metrics.push_back(series.name());
  return metrics;
}

std::string LineOf(const Run& run, const std::string& metric, const v1::SeriesPoint& point, bool csv) {
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixMillis(point.time_ms()), absl::UTCTimeZone());
  if (csv) {
    return CsvLine({run.job, run.arm, absl::StrCat(run.seed), absl::StrCat(point.step()), absl::StrCat(point.tokens()), time,
                    metric, CsvNumber(point.value())});
  }
  nlohmann::ordered_json json = {{"run", run.job},           {"arm", run.arm}, {"seed", run.seed}, {"step", point.step()},
                                 {"tokens", point.tokens()}, {"time", time},   {"metric", metric}, {"value", point.value()}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";  // not finite: null
}

absl::Status ExportMetric(const Client& client, const Run& run, const std::string& metric, bool csv, const Sink& sink) {
  for (uint64_t step = 0; step <= run.last_step; step += kStepsAtOnce) {
    v1::QueryRequest request;
    request.set_job(run.job);
    request.add_names(metric);
    request.set_axis(v1::AXIS_STEP);
    request.set_from(static_cast<double>(step));
    request.set_to(static_cast<double>(step + kStepsAtOnce - 1));
    POLYMOE_ASSIGN_OR_RETURN(const v1::QueryResponse response, client.Query(request));
    std::string lines;
    for (const v1::Series& series : response.series()) {
      for (const v1::SeriesPoint& point : series.points()) lines += LineOf(run, metric, point, csv);
    }
    POLYMOE_RETURN_IF_ERROR(sink(lines));
  }
  return absl::OkStatus();
}

absl::Status Export(const Client& client, const Options& options, const Sink& sink) {
  const bool csv = options.format == "csv";
  std::vector<Run> runs;
  for (const std::string& name : options.names) {
    POLYMOE_ASSIGN_OR_RETURN(const std::vector<Run> named, RunsOf(client, name));
    runs.insert(runs.end(), named.begin(), named.end());
  }
  if (csv) POLYMOE_RETURN_IF_ERROR(sink(CsvLine({"run", "arm", "seed", "step", "tokens", "time", "metric", "value"})));
  for (const Run& run : runs) {
    std::vector<std::string> metrics = options.metrics;
    if (metrics.empty()) {
      POLYMOE_ASSIGN_OR_RETURN(metrics, MetricsOf(client, run));
    }
    for (const std::string& metric : metrics) POLYMOE_RETURN_IF_ERROR(ExportMetric(client, run, metric, csv, sink));
  }
  return absl::OkStatus();
}

// All or nothing: beside it first, then renamed.
absl::Status ExportToFile(const Client& client, const Options& options) {
  const std::string beside = options.out + ".tmp";
  POLYMOE_ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(beside));
  absl::Status status = Export(client, options, [&file](const std::string& text) { return file.Append(text.data(), text.size()); });
  if (status.ok()) status = file.FsyncAndClose();
  if (!status.ok()) {
    std::remove(beside.c_str());
    return status;
  }
  if (std::rename(beside.c_str(), options.out.c_str()) != 0) return ErrnoStatus(errno, "rename to", options.out);
  const size_t slash = options.out.rfind('/');
  return FsyncDirectory(slash == std::string::npos ? "." : slash == 0 ? "/" : options.out.substr(0, slash));
}

absl::StatusOr<ExitCode> RunExport(Cli& cli, const Options& options) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  if (options.out.empty()) {
    POLYMOE_RETURN_IF_ERROR(Export(client, options, [&cli](const std::string& text) {
      cli.console.out << text;
      return cli.console.out.good() ? absl::OkStatus() : absl::DataLossError("cannot write to standard output; is the disk full?");
    }));
  } else {
    POLYMOE_RETURN_IF_ERROR(ExportToFile(client, options));
  }
  return ExitCode::kOk;
}

}  // namespace

void AddExport(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "export", "every metric point that counts, as CSV or JSON lines",
                                 "  polyctl export activations --out points.csv\n"
                                 "  polyctl export moe-polynorm --metric loss --format jsonl | head\n",
                                 [&cli, options] { return RunExport(cli, *options); });
  command->group(kAblationCommands);
  command->add_option("names", options->names, "ablations (all their runs) and jobs, by id or name")
      ->type_name("ABLATION/JOB")
      ->required();
  AddRepeated(*command, "--metric", options->metrics, "only this metric; may be repeated")->type_name("NAME");
  command->add_option("--format", options->format, "form of a point")
      ->type_name(kFormats)
      ->check(OneOf(kFormats))
      ->default_str("csv");
  command->add_option("--out", options->out, "file to write; it is there when all of it is (default: standard output)")
      ->type_name("FILE");
}

}  // namespace polymoe::polyctl
