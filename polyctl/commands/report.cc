// report: a comparison as a folder that can be handed on.
#include "polyctl/render/report.h"

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/file.h"
#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/csv.h"

namespace polymoe::polyctl {
namespace {

constexpr uint32_t kMilestones = 100;

struct Options {
  std::string ablation, out;
};

// A folder that is new, empty, or has an older report. Whatever else is in it may be somebody's work.
absl::Status CheckFolder(const std::string& folder) {
  if (!PathExists(folder)) return absl::OkStatus();
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  if (names.empty()) return absl::OkStatus();
  const absl::StatusOr<std::string> page = ReadFile(absl::StrCat(folder, "/index.html"));
  if (page.ok() && absl::StrContains(*page, kReportMark)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(folder, " has other files than a report; name a new folder"));
}

absl::Status WriteReport(const Report& report, const std::string& folder) {
  POLYMOE_RETURN_IF_ERROR(MakeDirectories(folder));
  // The page last: a folder without it has no finished report.
  const std::pair<const char*, std::string> files[] = {{"points.csv", PointsCsv(report.comparison)},
                                                       {"summary.csv", SummaryCsv(report.comparison)},
                                                       {"report.md", MarkdownReport(report)},
                                                       {"index.html", HtmlReport(report)}};
  for (const auto& [name, content] : files) POLYMOE_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(folder, "/", name), content));
  return absl::OkStatus();
}

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  POLYMOE_RETURN_IF_ERROR(CheckFolder(options.out));
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  Report report{.made = cli.console.clock.Now()};
  POLYMOE_ASSIGN_OR_RETURN(report.ablation, client.GetAblation(options.ablation));
  v1::CompareAblationRequest request;
  request.set_ablation(report.ablation.id());
  request.set_grid(kMilestones);
  request.set_runs(true);
  POLYMOE_ASSIGN_OR_RETURN(report.comparison, client.CompareAblation(request));
  POLYMOE_RETURN_IF_ERROR(WriteReport(report, options.out));
  cli.console.out << options.out << "/index.html\n";
  cli.console.err << Conclusion(report) << "\n";
  return ExitCode::kOk;
}

}  // namespace

void AddReport(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "report", "write a comparison as a web page, Markdown and CSV",
                                 "  polyctl report activations --out report\n"
                                 "  firefox $(polyctl report activations --out report)\n",
                                 [&cli, options] { return Run(cli, *options); });
  command->group(kAblationCommands);
  AddAblation(*command, options->ablation);
  command->add_option("--out", options->out, "folder to write; new, empty, or with an older report, which is replaced")
      ->type_name("DIR")
      ->required();
}

}  // namespace polymoe::polyctl
