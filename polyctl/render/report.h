// `polyctl report`: a comparison as one page for a browser and as Markdown. Both have the same sections in the same order.
#ifndef POLYMOE_POLYCTL_RENDER_REPORT_H_
#define POLYMOE_POLYCTL_RENDER_REPORT_H_

#include <string>

#include "absl/time/time.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/metric.pb.h"

namespace polymoe::polyctl {

struct Report {
  v1::Ablation ablation;
  v1::AblationComparison comparison;  // with the curves of the runs
  absl::Time made;
};

// In every page that HtmlReport makes, and in nothing else: how a folder with a report is told from another one.
inline constexpr char kReportMark[] = "<meta name=\"generator\" content=\"polyctl report\">";

// Self-contained: style, script, pictures and data are in it, it refers to nothing outside. Light or dark as the reader's system; the
// buttons that hide arms are reached by keyboard; wide tables scroll on their own.
std::string HtmlReport(const Report& report);

std::string MarkdownReport(const Report& report);

// What was compared and how, in sentences: for both forms.
std::string WhatWasCompared(const Report& report);
std::string HowItWasCompared(const Report& report);
// The verdicts of the main metric in one or two sentences. Names as better only what is.
std::string Conclusion(const Report& report);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_REPORT_H_
