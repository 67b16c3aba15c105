#include "polyctl/render/ablation_comparison.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "polyctl/render/ablation_tables.h"
#include "polyctl/render/braille.h"
#include "polyctl/render/chart.h"

namespace polymoe::polyctl {
namespace {

constexpr int kWidestChart = 110, kChartHeight = 14;

std::string Section(const std::string& title, const Table& table, const TableOptions& options) {
  if (table.rows.empty()) return "";
  return absl::StrCat("\n", Paint(title, Style::kBold, options.colour), "\n", RenderTable(table, options));
}

}  // namespace

std::string RenderAblationComparison(const v1::AblationComparison& comparison, const std::vector<std::string>& metrics, bool delta,
                                     const TableOptions& options) {
  const std::vector<std::string> shown = metrics.empty() ? std::vector<std::string>{MainMetric(comparison)} : metrics;
  const TerminalOptions chart_options{.colour = options.colour,
                                      .utf8 = options.utf8,
                                      .width = options.width > 0 ? std::min(options.width, kWidestChart) : 80,
                                      .height = kChartHeight};
  std::string text;
  for (const std::string& metric : shown) {
    const std::string title =
        absl::StrCat(comparison.name(), ": ", metric, " ", VerdictTokens(comparison, metric), ", against ", comparison.baseline());
    text += Section(title, VerdictTable(comparison, metric), options);
    absl::StrAppend(&text, "\n", DrawChart(delta ? DeltaChart(comparison, metric) : LossChart(comparison, metric), chart_options));
  }
  text += Section(absl::StrCat("How soon they reach the final ", MainMetric(comparison), " of ", comparison.baseline()),
                  ReachTable(comparison), options);
  text += Section(absl::StrCat("Validation sets: loss of ", comparison.baseline(), ", and the difference to it"),
                  DomainTable(comparison), options);
  text += Section("The arms", ArmsTable(comparison), options);
  text += Section("What differs in their configuration", ConfigTable(comparison), options);
  return text.substr(text.find_first_not_of('\n'));
}

}  // namespace polymoe::polyctl
