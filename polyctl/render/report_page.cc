// HtmlReport of report.h.
#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "common/units.h"
#include "polyctl/render/ablation_tables.h"
#include "polyctl/render/csv.h"
#include "polyctl/render/format.h"
#include "polyctl/render/markup.h"
#include "polyctl/render/report.h"
#include "polyctl/render/svg.h"

namespace polymoe::polyctl {
namespace {

// Okabe and Ito's colours (safe for colour-blind readers), darkened on white and lightened on black until they are told from the page.
constexpr char kStyle[] = R"css(
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--soft:#59636e;--rule:#d7dce1;--panel:#f5f7f9;--good:#00734f;--bad:#b03a00;
--c0:#0072b2;--c1:#c85200;--c2:#008a63;--c3:#a8478f;--c4:#9a7400;--c5:#2f8fca;--c6:#7a4a1e}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--ink:#e8eaed;--soft:#a4adb8;--rule:#343b44;--panel:#1d2127;--good:#3fd6a0;
--bad:#ff9466;--c0:#5ab4f0;--c1:#ff8a4a;--c2:#2fcf9f;--c3:#e59ad6;--c4:#e8c547;--c5:#9ad7ff;--c6:#d9a066}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem 1.25rem 4rem;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.4rem 0 .6rem}
.lead{font-size:1.1rem;margin:.4rem 0 1rem}
.soft,footer{color:var(--soft);font-size:.92rem}
.wide{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem;min-width:100%}
caption{text-align:left;color:var(--soft);padding:0 0 .35rem}
th,td{padding:.38rem .8rem .38rem 0;text-align:left;border-bottom:1px solid var(--rule);white-space:nowrap;font-weight:400}
thead th{color:var(--soft);font-size:.8rem;letter-spacing:.03em}
tbody th{font-weight:600}
.n{text-align:right}
.good{color:var(--good);font-weight:700}.bad{color:var(--bad)}
figure{margin:1rem 0;padding:.8rem;background:var(--panel);border-radius:8px}
figcaption{color:var(--soft);font-size:.92rem}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:13px}
.grid{stroke:var(--rule)}.axis,.zero{stroke:var(--soft)}.zero{stroke-width:1.5}
svg path{fill:none;vector-effect:non-scaling-stroke}
.arm-0{--c:var(--c0)}.arm-1{--c:var(--c1)}.arm-2{--c:var(--c2)}.arm-3{--c:var(--c3)}.arm-4{--c:var(--c4)}.arm-5{--c:var(--c5)}
.arm-6{--c:var(--c6)}.base{--c:var(--ink)}
th[class*=arm-],svg text.end{color:var(--c);fill:var(--c)}
svg text.end{font-weight:600}
.mean{stroke:var(--c);stroke-width:2.2;stroke-linejoin:round}.run{stroke:var(--c);stroke-width:1;opacity:.28}
svg .band{fill:var(--c);opacity:.13}
.base .mean,.base i{stroke-dasharray:7 5}.again .mean{stroke-dasharray:2 3}
circle{fill:transparent}circle:hover,circle.dot{fill:var(--c)}
.legend{display:flex;flex-wrap:wrap;gap:.45rem;margin:.8rem 0;position:sticky;top:0;z-index:1;background:var(--page);padding:.5rem 0}
button{font:inherit;font-size:.9rem;color:var(--ink);background:var(--page);border:1px solid var(--rule);border-radius:999px;
padding:.2rem .75rem;cursor:pointer;display:flex;align-items:center;gap:.45rem;max-width:100%;overflow-wrap:anywhere}
button:focus-visible,.wide:focus-visible,a:focus-visible,summary:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
button i{flex:none;width:1.5rem;border-top:3px solid var(--c)}button.base i{border-top-style:dashed}
button[aria-pressed=false]{color:var(--soft);text-decoration:line-through}button[aria-pressed=false] i{opacity:.25}
.off{display:none}
a{color:var(--c0)}
@media (max-width:640px){body{padding:1rem .8rem 3rem}svg text{font-size:22px}.minor,figure.curves svg text.end{display:none}figure{padding:.4rem}}
@media print{.legend{display:none}figure{break-inside:avoid}}
)css";

constexpr char kScript[] = R"js(
for (const button of document.querySelectorAll('button[data-series]')) {
  button.addEventListener('click', () => {
    const shown = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', shown);
    for (const part of document.querySelectorAll('.series-' + button.dataset.series)) part.classList.toggle('off', !shown);
  });
}
)js";

std::vector<std::string> ArmNames(const v1::AblationComparison& comparison) {
  std::vector<std::string> names;
  for (const v1::ArmSummary& arm : comparison.arms()) names.push_back(arm.name());
  return names;
}

// The buttons that show and hide arms in all charts.
std::string Legend(const v1::AblationComparison& comparison) {
  std::string html = "<div class=\"legend\" role=\"group\" aria-label=\"Arms in the charts\">\n";
  for (int i = 0; i < comparison.arms_size(); ++i) {
    const std::string& name = comparison.arms(i).name();
    const bool baseline = name == comparison.baseline();
    absl::StrAppend(&html, "<button type=\"button\" aria-pressed=\"true\" data-series=\"", i, "\" class=\"",
                    baseline ? "base" : absl::StrCat("arm-", ColourOf(comparison, name) % 7), "\"><i></i>",
                    EscapeHtml(Printable(name)), baseline ? " (baseline)" : "", "</button>\n");
  }
  return html + "</div>\n";
}

std::string Figure(const std::string& svg, const std::string& caption, bool curves) {
  return absl::StrCat("<figure", curves ? " class=\"curves\"" : "", ">\n", svg, "<figcaption>", EscapeHtml(caption),
                      "</figcaption></figure>\n");
}

std::string Section(const std::string& title, const std::string& content) {
  return content.empty() ? "" : absl::StrCat("<section><h2>", EscapeHtml(title), "</h2>\n", content, "</section>\n");
}

std::string TableOrNothing(const Table& table, const std::string& caption) {
  return table.rows.empty() ? "" : HtmlTable(table, caption);
}

std::string Charts(const v1::AblationComparison& comparison) {
  const std::vector<std::string> names = ArmNames(comparison);
  const std::string main = MainMetric(comparison);
  std::string html = Legend(comparison);
  html += Figure(
      SvgChart(LossChart(comparison, main), "curve", names),
      absl::StrCat(
          main,
          ": mean of the seeds, the band from the lowest to the highest seed, single runs faint. The start is cut off above."),
      true);
  html += Figure(SvgChart(DeltaChart(comparison, main), "delta", names),
                 absl::StrCat(main, ": paired difference to ", comparison.baseline(),
                              ", with its 95% confidence interval; below 0 is better."),
                 true);
  if (main != "loss" && std::find(comparison.metrics().begin(), comparison.metrics().end(), "loss") != comparison.metrics().end()) {
    html += Figure(SvgChart(LossChart(comparison, "loss"), "train", names), "Training loss, drawn alike.", true);
  }
  return html;
}

std::string OtherMetrics(const v1::AblationComparison& comparison) {
  std::string html;
  for (const std::string& metric : comparison.metrics()) {
    if (metric == MainMetric(comparison)) continue;
    html += HtmlTable(VerdictTable(comparison, metric), absl::StrCat(metric, " ", VerdictTokens(comparison, metric)));
  }
  return html.empty() ? "" : absl::StrCat("<details><summary>Verdicts of every metric</summary>\n", html, "</details>\n");
}

std::string DataLink(const std::string& name, const std::string& csv) {
  return absl::StrCat("<a download=\"", name, "\" href=\"data:text/csv;charset=utf-8;base64,", absl::Base64Escape(csv), "\">", name,
                      "</a>");
}

}  // namespace

std::string HtmlReport(const Report& report) {
  const v1::AblationComparison& comparison = report.comparison;
  const std::string main = MainMetric(comparison), name = EscapeHtml(Printable(comparison.name())),
                    baseline = comparison.baseline();
  std::string html = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, "
      "initial-scale=1\">\n",
      kReportMark, "\n<link rel=\"icon\" href=\"data:,\">\n<title>", name, ": comparison</title>\n<style>", kStyle,
      "</style>\n</head>\n<body>\n<main>\n");
  absl::StrAppend(&html, "<h1>", name, "</h1>\n<p class=\"lead\">", EscapeHtml(Conclusion(report)), "</p>\n<p class=\"soft\">",
                  EscapeHtml(WhatWasCompared(report)), "</p>\n");
  html += Section(
      absl::StrCat("Verdict ", VerdictTokens(comparison, main)),
      absl::StrCat(
          HtmlTable(VerdictTable(comparison, main), absl::StrCat(main, " against ", baseline)),
          Figure(SvgIntervals(comparison, main, "intervals"),
                 absl::StrCat(main, ": difference to ", baseline,
                              " with its 95% confidence interval. Across 0 no difference was seen; the verdict is stricter, "
                              "as it counts how many arms were tried."),
                 false)));
  html += Section("Convergence", Charts(comparison));
  html += Section("Validation sets", TableOrNothing(DomainTable(comparison),
                                                    absl::StrCat("loss of ", baseline, "; of the others the difference to it")));
  html += Section(
      "Speed", HtmlTable(ReachTable(comparison), absl::StrCat("when the mean curve reaches the final ", main, " of ", baseline)));
  html += Section("What was compared",
                  absl::StrCat(HtmlTable(ArmsTable(comparison), "the arms"),
                               TableOrNothing(ConfigTable(comparison), "fields that are not the same in all arms")));
  html += Section("Method", absl::StrCat("<p>", EscapeHtml(HowItWasCompared(report)), "</p>\n", OtherMetrics(comparison)));
  html += Section("Data", absl::StrCat("<p>", DataLink("points.csv", PointsCsv(comparison)), ": every run at every milestone. ",
                                       DataLink("summary.csv", SummaryCsv(comparison)), ": every verdict.</p>\n"));
  return absl::StrCat(html, "</main>\n<footer>Made by polyctl report from ", EscapeHtml(Printable(comparison.ablation())), " on ",
                      FormatTime(absl::ToUnixMillis(report.made)), ".</footer>\n<script>", kScript,
                      "</script>\n</body>\n</html>\n");
}

}  // namespace polymoe::polyctl
