#include "polyctl/render/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "polyctl/render/ablation_tables.h"

namespace polymoe::polyctl {

std::string CsvLine(const std::vector<std::string>& fields) {
  std::string line;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) line += ',';
    const bool quoted = fields[i].find_first_of(",\"\r\n") != std::string::npos;
    line += quoted ? absl::StrCat("\"", absl::StrReplaceAll(fields[i], {{"\"", "\"\""}}), "\"") : fields[i];
  }
  return line + "\n";
}

std::string CsvNumber(double value) {
  if (std::isnan(value)) return "";
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, result.ptr);
}

std::string PointsCsv(const v1::AblationComparison& comparison) {
  std::string text = CsvLine({"run", "arm", "seed", "metric", "tokens", "value"});
  for (const v1::RunCurve& run : comparison.runs()) {
    for (int i = 0; i < std::min(run.values_size(), comparison.tokens_size()); ++i) {
      if (std::isnan(run.values(i))) continue;
      text += CsvLine({run.job(), run.arm(), absl::StrCat(run.seed()), run.metric(), absl::StrCat(comparison.tokens(i)),
                       CsvNumber(run.values(i))});
    }
  }
  return text;
}

std::string SummaryCsv(const v1::AblationComparison& comparison) {
  std::string text = CsvLine({"metric", "arm", "tokens", "n", "mean", "sd", "min", "max", "pairs", "difference", "low", "high",
                              "verdict", "p_value", "tokens_to_baseline", "speed_up"});
  for (const v1::ArmCurve& curve : comparison.curves()) {
    const v1::ArmPoint* point = FinalPoint(&curve);
    if (point == nullptr) continue;
    const bool interval = point->pairs() > 1;
    text +=
        CsvLine({curve.metric(), curve.arm(), absl::StrCat(point->tokens()), absl::StrCat(point->n()), CsvNumber(point->mean()),
                 point->n() > 1 ? CsvNumber(point->sd()) : "", CsvNumber(point->min()), CsvNumber(point->max()),
                 absl::StrCat(point->pairs()), point->pairs() > 0 ? CsvNumber(point->difference()) : "",
                 interval ? CsvNumber(point->low()) : "", interval ? CsvNumber(point->high()) : "", VerdictName(curve.verdict()),
                 CsvNumber(curve.p_value()), curve.tokens_to_baseline() > 0 ? absl::StrCat(curve.tokens_to_baseline()) : "",
                 curve.tokens_to_baseline() > 0 ? CsvNumber(curve.speed_up()) : ""});
  }
  return text;
}

}  // namespace polymoe::polyctl
