#include "polyctl/render/report.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "common/spec/names.h"
#include "common/units.h"
#include "polyctl/render/ablation.h"
#include "polyctl/render/ablation_tables.h"
#include "polyctl/render/format.h"
#include "polyctl/render/markup.h"

namespace polymoe::polyctl {
namespace {

std::string NamesWith(const v1::AblationComparison& comparison, v1::Verdict verdict) {
  std::vector<std::string> names;
  for (const v1::ArmSummary& arm : comparison.arms()) {
    const v1::ArmCurve* curve = FindCurve(comparison, arm.name(), MainMetric(comparison));
    if (curve != nullptr && FinalPoint(curve) != nullptr && curve->verdict() == verdict) names.push_back(arm.name());
  }
  return absl::StrJoin(names, ", ");
}

std::string Matched(v1::MatchTarget match) {
  switch (match) {
    case v1::MATCH_TARGET_PARAMETERS:
      return "The width of each arm's FFN was chosen so that its parameters come closest to the baseline's. ";
    case v1::MATCH_TARGET_ACTIVE_PARAMETERS:
      return "The width of each arm's FFN was chosen so that its parameters active a token come closest to the baseline's. ";
    case v1::MATCH_TARGET_FLOPS:
      return "The width of each arm's FFN was chosen so that its FLOPs a token come closest to the baseline's. ";
    default:
      return "Nothing was matched but the tokens: the arms are as large as their configuration makes them. ";
  }
}

}  // namespace

std::string WhatWasCompared(const Report& report) {
  const v1::AblationSpec& spec = report.ablation.file().spec();
  const v1::AblationProgress& progress = report.ablation.progress();
  const uint32_t runs = progress.runs() > 0 ? progress.runs() : static_cast<uint32_t>(report.ablation.runs_size());
  return absl::StrCat(report.comparison.arms_size(), " arms with ", spec.seeds_size(), " seeds each (",
                      absl::StrJoin(spec.seeds(), ", "), "), ", FormatCount(static_cast<double>(spec.budget().tokens())),
                      " training tokens a run. The baseline is ", report.comparison.baseline(), ". ", progress.ended(), " of ",
                      runs, " runs have ended; the ablation is ", StateName(report.ablation.state()), ".");
}

std::string HowItWasCompared(const Report& report) {
  return absl::StrCat(
      "All arms are compared at equal tokens, never at equal steps or time. Runs of one seed see the same data in the same order "
      "in every "
      "arm, so each is compared with the baseline's run of the same seed: the difference is the mean over these pairs, the "
      "interval is "
      "Student's t on the paired differences (95%). SD is the deviation of the single runs of an arm (n - 1). An arm is called "
      "better or "
      "worse only if the p-value of the two-sided paired t-test, adjusted over the arms by Holm's method, is below 0.05; "
      "everything else is "
      "\"no difference seen\", and fewer than two pairs are \"too few seeds\". That no difference was seen does not show that "
      "there is none. ",
      Matched(report.ablation.file().spec().match()),
      "val_loss is the mean over the validation sets, in nats a token; the loss at a milestone is the mean over the last "
      "hundredth of the tokens. "
      "Speed-up is the baseline's tokens divided by those at which the arm's mean curve first reaches the baseline's final loss.");
}

std::string Conclusion(const Report& report) {
  const v1::AblationComparison& comparison = report.comparison;
  std::vector<std::string> sentences;
  const std::string better = NamesWith(comparison, v1::VERDICT_BETTER), worse = NamesWith(comparison, v1::VERDICT_WORSE);
  const std::string none = NamesWith(comparison, v1::VERDICT_NO_DIFFERENCE), few = NamesWith(comparison, v1::VERDICT_TOO_FEW);
  const std::string& baseline = comparison.baseline();
  if (!better.empty()) sentences.push_back(absl::StrCat("Better than ", baseline, ": ", better, "."));
  if (!worse.empty()) sentences.push_back(absl::StrCat("Worse than ", baseline, ": ", worse, "."));
  if (!none.empty()) sentences.push_back(absl::StrCat("No difference to ", baseline, " was seen: ", none, "."));
  if (!few.empty()) sentences.push_back(absl::StrCat("Too few seeds to say anything: ", few, "."));
  if (sentences.empty()) return "There is nothing to compare yet.";
  return absl::StrCat(absl::StrJoin(sentences, " "), " (", MainMetric(comparison), " ",
                      VerdictTokens(comparison, MainMetric(comparison)), ")");
}

std::string MarkdownReport(const Report& report) {
  const v1::AblationComparison& comparison = report.comparison;
  std::string text = absl::StrCat("# ", EscapeHtml(Printable(comparison.name())), "\n\n", EscapeHtml(Conclusion(report)), "\n\n",
                                  EscapeHtml(WhatWasCompared(report)), " Made from ", EscapeHtml(Printable(comparison.ablation())),
                                  " on ", FormatTime(absl::ToUnixMillis(report.made)), ".\n");
  const auto section = [&text](const std::string& title, const Table& table) {
    if (!table.rows.empty()) absl::StrAppend(&text, "\n## ", EscapeHtml(Printable(title)), "\n\n", MarkdownTable(table));
  };
  const std::string metric = MainMetric(comparison);
  section(absl::StrCat(metric, " ", VerdictTokens(comparison, metric), " against ", comparison.baseline()),
          VerdictTable(comparison, metric));
  section(absl::StrCat("How soon the arms reach the final ", metric, " of ", comparison.baseline()), ReachTable(comparison));
  section(absl::StrCat("Validation sets: loss of ", comparison.baseline(), ", and the difference to it"), DomainTable(comparison));
  section("The arms", ArmsTable(comparison));
  section("What differs in their configuration", ConfigTable(comparison));
  for (const std::string& other : comparison.metrics()) {
    if (other != metric) section(absl::StrCat(other, " ", VerdictTokens(comparison, other)), VerdictTable(comparison, other));
  }
  absl::StrAppend(&text, "\n## Method\n\n", EscapeHtml(HowItWasCompared(report)),
                  "\n\nFigures: points.csv (every run at every milestone), summary.csv (every verdict).\n");
  return text;
}

}  // namespace polymoe::polyctl
