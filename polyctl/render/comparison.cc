#include "polyctl/render/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "common/units.h"
#include "polyctl/render/format.h"

namespace polymoe::polyctl {
namespace {

// NaN is worse than every number.
double Worth(const std::optional<double>& value) {
  return value.has_value() && !std::isnan(*value) ? *value : std::numeric_limits<double>::infinity();
}

// Jobs whose value is the lowest of the column, as it is printed: values that look alike are both marked.
std::vector<bool> BestOf(const ComparedMetric& metric, size_t milestone) {
  double best = std::numeric_limits<double>::infinity();
  for (const auto& row : metric.values) best = std::min(best, Worth(row[milestone]));
  std::vector<bool> is_best;
  for (const auto& row : metric.values) {
    is_best.push_back(std::isfinite(best) && std::isfinite(Worth(row[milestone])) &&
                      FormatLoss(*row[milestone]) == FormatLoss(best));
  }
  return is_best;
}

// Without colour every cell of the column gets one more character, so that the digits stay aligned.
Cell Mark(const std::string& text, bool best, bool colour) {
  if (colour) return {text, best ? Style::kBold : Style::kPlain};
  return absl::StrCat(text, best ? "*" : " ");
}

std::string Section(const Comparison& comparison, const ComparedMetric& metric, const TableOptions& options) {
  Table table{{{"JOB"}, {"ACTIVATION"}}, {}};
  for (const ComparedJob& job : comparison.jobs) table.rows.push_back({job.id, job.activation});
  for (size_t milestone = 0; milestone < comparison.tokens.size(); ++milestone) {
    table.columns.push_back({absl::StrCat(FormatCount(comparison.tokens[milestone]), options.colour ? "" : " "), Align::kRight});
    const std::vector<bool> best = BestOf(metric, milestone);
    for (size_t job = 0; job < table.rows.size(); ++job) {
      const std::optional<double>& value = metric.values[job][milestone];
      table.rows[job].push_back(Mark(value.has_value() ? FormatLoss(*value) : "-", best[job], options.colour));
    }
  }
  return absl::StrCat(Paint(absl::StrCat(metric.name, " at equal tokens"), Style::kBold, options.colour), "\n",
                      RenderTable(table, options), "\n");
}

std::string RankingSection(const Comparison& comparison, const Ranking& ranking, const TableOptions& options) {
  constexpr Align kRight = Align::kRight;
  Table table{
      {{"RANK", kRight}, {"JOB"}, {"ACTIVATION"}, {"LOSS", kRight}, {"BEHIND", kRight}, {"PARAMS", kRight}, {"TOK/S", kRight}}, {}};
  for (size_t i = 0; i < ranking.order.size(); ++i) {
    const RankedJob& ranked = ranking.order[i];
    const ComparedJob& job = comparison.jobs[ranked.job];
    table.rows.push_back({absl::StrCat(i + 1),
                          {job.id, i == 0 ? Style::kBold : Style::kPlain},
                          job.activation,
                          FormatLoss(ranked.loss),
                          i == 0 ? "-" : absl::StrFormat("%+.4f", ranked.behind),
                          FormatCount(job.parameters),
                          job.tokens_per_second > 0 ? FormatCount(job.tokens_per_second) : "-"});
  }
  const std::string title = absl::StrCat("Who converged best: ", ranking.metrics.size() > 1 ? "mean of " : "",
                                         absl::StrJoin(ranking.metrics, ", "), " at ", FormatCount(ranking.tokens), " tokens");
  return absl::StrCat(Paint(title, Style::kBold, options.colour), "\n", RenderTable(table, options),
                      "One run each: another seed may rank them otherwise. ", "`polyctl ablation` compares over seeds.\n");
}

}  // namespace

std::optional<Ranking> Rank(const Comparison& comparison) {
  std::vector<const ComparedMetric*> metrics;
  for (const ComparedMetric& metric : comparison.metrics) {
    if (absl::StartsWith(metric.name, "val_loss/")) metrics.push_back(&metric);
  }
  if (metrics.empty()) {
    for (const ComparedMetric& metric : comparison.metrics) metrics.push_back(&metric);
  }
  const auto complete = [&](size_t milestone) {
    return std::all_of(metrics.begin(), metrics.end(), [&](const ComparedMetric* metric) {
      return std::all_of(metric->values.begin(), metric->values.end(), [&](const auto& row) { return row[milestone].has_value(); });
    });
  };
  size_t end = comparison.tokens.size();
  while (end > 0 && !complete(end - 1)) --end;
  if (end == 0 || metrics.empty()) return std::nullopt;

  Ranking ranking{.order = {}, .metrics = {}, .tokens = comparison.tokens[end - 1]};
  for (const ComparedMetric* metric : metrics) ranking.metrics.push_back(metric->name);
  for (size_t job = 0; job < comparison.jobs.size(); ++job) {
    double sum = 0;
    for (const ComparedMetric* metric : metrics) sum += *metric->values[job][end - 1];
    ranking.order.push_back({.job = job, .loss = sum / static_cast<double>(metrics.size())});
  }
  std::stable_sort(ranking.order.begin(), ranking.order.end(),
                   [](const RankedJob& a, const RankedJob& b) { return Worth(a.loss) < Worth(b.loss); });
  for (RankedJob& ranked : ranking.order) ranked.behind = ranked.loss - ranking.order[0].loss;
  return ranking;
}

std::string RenderComparison(const Comparison& comparison, const TableOptions& options) {
  std::string text;
  for (const ComparedMetric& metric : comparison.metrics) text += Section(comparison, metric, options);
  if (const std::optional<Ranking> ranking = Rank(comparison)) {
    text += RankingSection(comparison, *ranking, options);
  } else {
    text += "No ranking yet: there is no token count at which every job has a value of every metric.\n";
  }
  return text;
}

}  // namespace polymoe::polyctl
