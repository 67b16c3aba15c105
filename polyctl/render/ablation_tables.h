// What a comparison of an ablation says, as tables: the same ones on terminals, in Markdown and in HTML.
#ifndef POLYMOE_POLYCTL_RENDER_ABLATION_TABLES_H_
#define POLYMOE_POLYCTL_RENDER_ABLATION_TABLES_H_

#include <string>

#include "polymoe/v1/metric.pb.h"

#include "polyctl/render/table.h"

namespace polymoe::polyctl {

// "better", "worse", "no difference seen", "too few seeds", "baseline".
std::string VerdictName(v1::Verdict verdict);
// Green and bold for better, red for worse; what lies inside the noise is never set off.
Style VerdictStyle(v1::Verdict verdict);

// The curve of an arm and metric; nullptr when the comparison has none.
const v1::ArmCurve* FindCurve(const v1::AblationComparison& comparison, const std::string& arm, const std::string& metric);
// The point that the verdict is about; nullptr when there is none yet.
const v1::ArmPoint* FinalPoint(const v1::ArmCurve* curve);

// What decides: "val_loss", or the training loss where nothing is validated.
std::string MainMetric(const v1::AblationComparison& comparison);
// "at 2M tokens" of the verdicts of a metric; with the range when arms are not equally far.
std::string VerdictTokens(const v1::AblationComparison& comparison, const std::string& metric);

// An arm a row: seeds, mean, their deviation, paired difference with its 95% confidence interval, verdict.
Table VerdictTable(const v1::AblationComparison& comparison, const std::string& metric);
// An arm a row: bits per byte, tokens to the baseline's loss and speed-up (of the main metric), speed, runs that have ended.
Table ReachTable(const v1::AblationComparison& comparison);
// An arm a row: activation, width, parameters, FLOPs, tokens that its runs were trained on.
Table ArmsTable(const v1::AblationComparison& comparison);
// An arm a row, a validation set a column: the baseline's loss, and the difference to it with a word where it is more than noise.
Table DomainTable(const v1::AblationComparison& comparison);
// An arm a row, a column for each field that is not the same in all of them.
Table ConfigTable(const v1::AblationComparison& comparison);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_ABLATION_TABLES_H_
