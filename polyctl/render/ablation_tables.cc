#include "polyctl/render/ablation_tables.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

#include "common/units.h"
#include "polyctl/render/chart.h"
#include "polyctl/render/config_diff.h"
#include "polyctl/render/format.h"

namespace polymoe::polyctl {
namespace {

constexpr Align kRight = Align::kRight;

Cell ArmCell(const v1::AblationComparison& comparison, const std::string& arm) {
  return {arm, arm == comparison.baseline() ? Style::kPlain : ArmStyle(ColourOf(comparison, arm))};
}

std::string Difference(const v1::ArmPoint& point) {
  if (point.pairs() == 0) return "-";
  const std::string difference = absl::StrFormat("%+.4f", point.difference());
  return point.pairs() < 2 ? difference : absl::StrFormat("%s ± %.4f", difference, (point.high() - point.low()) / 2);
}

std::string Count(double count) {
  return count > 0 ? FormatCount(count) : "-";
}

std::string Runs(const v1::ArmSummary& arm) {
  std::string text = absl::StrCat(arm.ended(), "/", arm.runs());
  if (arm.failed() > 0) absl::StrAppend(&text, ", ", arm.failed(), " failed");
  if (arm.stopped() > 0) absl::StrAppend(&text, ", ", arm.stopped(), " stopped");
  return text;
}

std::string BitsPerByte(const v1::AblationComparison& comparison, const std::string& arm) {
  const v1::ArmPoint* point = FinalPoint(FindCurve(comparison, arm, "val_bpb"));
  return point == nullptr ? "-" : FormatLoss(point->mean());
}

}  // namespace

std::string VerdictName(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_BASELINE:
      return "baseline";
    case v1::VERDICT_TOO_FEW:
      return "too few seeds";
    case v1::VERDICT_NO_DIFFERENCE:
      return "no difference seen";
    case v1::VERDICT_BETTER:
      return "better";
    case v1::VERDICT_WORSE:
      return "worse";
    default:
      return "-";
  }
}

Style VerdictStyle(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_BETTER:
      return Style::kBoldGreen;
    case v1::VERDICT_WORSE:
      return Style::kRed;
    default:
      return Style::kPlain;
  }
}

const v1::ArmCurve* FindCurve(const v1::AblationComparison& comparison, const std::string& arm, const std::string& metric) {
  for (const v1::ArmCurve& curve : comparison.curves()) {
    if (curve.arm() == arm && curve.metric() == metric) return &curve;
  }
  return nullptr;
}

const v1::ArmPoint* FinalPoint(const v1::ArmCurve* curve) {
  if (curve == nullptr || static_cast<int>(curve->last()) >= curve->points_size()) return nullptr;
  const v1::ArmPoint& point = curve->points(static_cast<int>(curve->last()));
  return point.n() == 0 ? nullptr : &point;
}

std::string MainMetric(const v1::AblationComparison& comparison) {
  return comparison.metrics().empty() ? "val_loss" : comparison.metrics(0);
}

std::string VerdictTokens(const v1::AblationComparison& comparison, const std::string& metric) {
  std::set<uint64_t> tokens;
  for (const v1::ArmSummary& arm : comparison.arms()) {
    if (const v1::ArmPoint* point = FinalPoint(FindCurve(comparison, arm.name(), metric))) tokens.insert(point->tokens());
  }
  if (tokens.empty()) return "no values yet";
  const std::string least = FormatCount(static_cast<double>(*tokens.begin())),
                    most = FormatCount(static_cast<double>(*tokens.rbegin()));
  return least == most ? absl::StrCat("at ", most, " tokens") : absl::StrCat("at ", least, " to ", most, " tokens");
}

Table VerdictTable(const v1::AblationComparison& comparison, const std::string& metric) {
  Table table{{{"ARM"}, {"SEEDS", kRight}, {"MEAN", kRight}, {"SD", kRight}, {"DIFFERENCE ± 95%", kRight}, {"VERDICT"}}, {}};
  for (const v1::ArmSummary& arm : comparison.arms()) {
    const v1::ArmCurve* curve = FindCurve(comparison, arm.name(), metric);
    const v1::ArmPoint* point = FinalPoint(curve);
    if (point == nullptr) {
      table.rows.push_back({ArmCell(comparison, arm.name()), "0", "-", "-", "-", "no values yet"});
      continue;
    }
    const bool baseline = curve->verdict() == v1::VERDICT_BASELINE;
    table.rows.push_back({ArmCell(comparison, arm.name()),
                          absl::StrCat(point->n()),
                          FormatLoss(point->mean()),
                          point->n() > 1 ? absl::StrFormat("%.4f", point->sd()) : "-",
                          baseline ? "-" : Difference(*point),
                          {VerdictName(curve->verdict()), VerdictStyle(curve->verdict())}});
  }
  return table;
}

Table ReachTable(const v1::AblationComparison& comparison) {
  Table table{
      {{"ARM"}, {"BITS/BYTE", kRight}, {"BASELINE'S LOSS AT", kRight}, {"SPEED-UP", kRight}, {"TOKENS/S", kRight}, {"RUNS ENDED"}},
      {}};
  for (const v1::ArmSummary& arm : comparison.arms()) {
    const v1::ArmCurve* curve = FindCurve(comparison, arm.name(), MainMetric(comparison));
    const bool known = FinalPoint(curve) != nullptr && arm.name() != comparison.baseline();
    const bool reached = known && curve->tokens_to_baseline() > 0;
    table.rows.push_back({ArmCell(comparison, arm.name()), BitsPerByte(comparison, arm.name()),
                          reached ? FormatCount(static_cast<double>(curve->tokens_to_baseline()))
                          : known ? "not reached"
                                  : "-",
                          reached ? absl::StrFormat("%.2f×", curve->speed_up()) : "-", Count(arm.tokens_per_second()), Runs(arm)});
  }
  return table;
}

Table ArmsTable(const v1::AblationComparison& comparison) {
  Table table{{{"ARM"},
               {"ACTIVATION"},
               {"FFN", kRight},
               {"PARAMETERS", kRight},
               {"ACTIVE", kRight},
               {"FLOP/TOKEN", kRight},
               {"TOKENS", kRight}},
              {}};
  for (const v1::ArmSummary& arm : comparison.arms()) {
    table.rows.push_back({ArmCell(comparison, arm.name()), arm.activation(), absl::StrCat(arm.ffn()),
                          Count(static_cast<double>(arm.parameters())), Count(static_cast<double>(arm.active_parameters())),
                          Count(arm.flops_per_token()), Count(static_cast<double>(arm.tokens()))});
  }
  return table;
}

Table DomainTable(const v1::AblationComparison& comparison) {
  Table table{{{"ARM"}}, {}};
  std::vector<std::string> metrics;
  for (const std::string& metric : comparison.metrics()) {
    if (!absl::StartsWith(metric, "val_loss/")) continue;
    metrics.push_back(metric);
    table.columns.push_back({std::string(absl::StripPrefix(metric, "val_loss/")), kRight});
  }
  if (metrics.empty()) return {};
  for (const v1::ArmSummary& arm : comparison.arms()) {
    std::vector<Cell> row = {ArmCell(comparison, arm.name())};
    for (const std::string& metric : metrics) {
      const v1::ArmCurve* curve = FindCurve(comparison, arm.name(), metric);
      const v1::ArmPoint* point = FinalPoint(curve);
      const v1::Verdict verdict = curve == nullptr ? v1::VERDICT_UNSPECIFIED : curve->verdict();
      const bool seen = verdict == v1::VERDICT_BETTER || verdict == v1::VERDICT_WORSE;
      if (point == nullptr || (verdict != v1::VERDICT_BASELINE && point->pairs() == 0)) {
        row.push_back("-");
      } else if (verdict == v1::VERDICT_BASELINE) {
        row.push_back(FormatLoss(point->mean()));
      } else {
        row.push_back(
            {absl::StrCat(absl::StrFormat("%+.4f", point->difference()), seen ? " " : "", seen ? VerdictName(verdict) : ""),
             VerdictStyle(verdict)});
      }
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table ConfigTable(const v1::AblationComparison& comparison) {
  std::vector<Cell> names;
  for (const v1::ArmSummary& arm : comparison.arms()) names.push_back(ArmCell(comparison, arm.name()));
  return DifferencesTable("ARM", names, {comparison.differences().begin(), comparison.differences().end()});
}

}  // namespace polymoe::polyctl
