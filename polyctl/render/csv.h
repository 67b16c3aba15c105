// Figures as comma-separated values (RFC 4180) and JSON lines.
#ifndef POLYMOE_POLYCTL_RENDER_CSV_H_
#define POLYMOE_POLYCTL_RENDER_CSV_H_

#include <string>
#include <vector>

#include "polymoe/v1/metric.pb.h"

namespace polymoe::polyctl {

// One line with its end. Fields with commas, quotes or line ends are quoted.
std::string CsvLine(const std::vector<std::string>& fields);
// As many digits as give the same number back; empty for NaN.
std::string CsvNumber(double value);

// run,arm,seed,metric,tokens,value: what each run had at each milestone. Milestones without a value are left out.
std::string PointsCsv(const v1::AblationComparison& comparison);
// metric,arm,tokens,n,mean,sd,min,max,pairs,difference,low,high,verdict,p_value,tokens_to_baseline,speed_up: a line a verdict.
std::string SummaryCsv(const v1::AblationComparison& comparison);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_CSV_H_
