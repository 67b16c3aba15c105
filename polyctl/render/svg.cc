#include "polyctl/render/svg.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "common/units.h"
#include "polyctl/render/ablation_tables.h"
#include "polyctl/render/format.h"
#include "polyctl/render/markup.h"

namespace polymoe::polyctl {
namespace {

constexpr double kWidth = 760, kHeight = 400;
constexpr double kLeft = 74, kRight = 130, kTop = 16, kBottom = 68;  // the bottom has room for the larger letters of narrow screens
constexpr double kRowHeight = 38;                                    // of SvgIntervals
constexpr double kLabelHeight = 17;                                  // between the names at the ends of curves

std::string Number(double value) {
  return absl::StrFormat("%.1f", value);
}

// The part of the picture that has the curves, and where things are in it.
struct Frame {
  Range tokens, values;
  double left = kLeft, top = kTop, right = kWidth - kRight, bottom = kHeight - kBottom;

  double X(double value) const { return left + (value - tokens.low) / (tokens.high - tokens.low) * (right - left); }
  // Far outside is cut, so that coordinates stay short; the frame hides it.
  double Y(double value) const {
    return std::clamp(top + (values.high - value) / (values.high - values.low) * (bottom - top), -4 * kHeight, 5 * kHeight);
  }
};

std::string ColourClass(const ChartLine& line) {
  return line.baseline ? "base" : absl::StrCat("arm-", line.colour % 7, line.colour >= 7 ? " again" : "");
}

std::string Open(const std::string& id, double height, const std::string& title, const std::string& description) {
  return absl::StrFormat(
      "<svg id=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-labelledby=\"%s-t %s-d\">\n<title id=\"%s-t\">%s</title>\n"
      "<desc id=\"%s-d\">%s</desc>\n",
      id, kWidth, height, id, id, id, EscapeHtml(title), id, EscapeHtml(description));
}

std::string Path(const Frame& frame, const std::vector<ChartPoint>& points) {
  std::string path;
  for (const ChartPoint& point : points) {
    absl::StrAppend(&path, path.empty() ? "M" : "L", Number(frame.X(point.tokens)), " ", Number(frame.Y(point.value)));
  }
  return path;
}

std::string Band(const Frame& frame, const std::vector<ChartPoint>& points) {
  std::string path;
  for (const ChartPoint& point : points) {
    absl::StrAppend(&path, path.empty() ? "M" : "L", Number(frame.X(point.tokens)), " ", Number(frame.Y(point.low)));
  }
  for (auto point = points.rbegin(); point != points.rend(); ++point) {
    absl::StrAppend(&path, "L", Number(frame.X(point->tokens)), " ", Number(frame.Y(point->high)));
  }
  return path.empty() ? "" : path + "Z";
}

std::string ValueAxis(const Frame& frame, bool difference) {
  std::string svg;
  const std::vector<double> ticks = Ticks(frame.values, 7);
  for (size_t i = 0; i < ticks.size(); ++i) {
    const double y = frame.Y(ticks[i]);
    const bool zero = difference && TickText(ticks, i) == "0";
    absl::StrAppendFormat(
        &svg, "<path class=\"%s\" d=\"M%.1f %.1fH%.1f\"/><text x=\"%.1f\" y=\"%.1f\" dy=\".35em\" text-anchor=\"end\">%s</text>\n",
        zero ? "zero" : "grid", frame.left, y, frame.right, frame.left - 8, y,
        difference && ticks[i] > 0 && !zero ? "+" + TickText(ticks, i) : TickText(ticks, i));
  }
  return svg;
}

// Every second number is left out where the screen is narrow.
std::string TokenAxis(const Frame& frame) {
  std::string svg = absl::StrFormat("<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", frame.left, frame.bottom, frame.right);
  const std::vector<double> ticks = Ticks(frame.tokens, 7);
  for (size_t i = 0; i < ticks.size(); ++i) {
    const double x = frame.X(ticks[i]);
    absl::StrAppendFormat(
        &svg,
        "<path class=\"axis\" d=\"M%.1f %.1fv5\"/><text x=\"%.1f\" y=\"%.1f\" dy=\"1.5em\" text-anchor=\"middle\"%s>%s</text>\n", x,
        frame.bottom, x, frame.bottom, i % 2 == 1 ? " class=\"minor\"" : "", FormatCount(ticks[i]));
  }
  absl::StrAppendFormat(&svg, "<text x=\"%.1f\" y=\"%.1f\" dy=\"2.7em\" text-anchor=\"middle\">training tokens</text>\n",
                        (frame.left + frame.right) / 2, frame.bottom);
  return svg;
}

std::string PointTitle(const ChartLine& line, const ChartPoint& point, bool difference) {
  return absl::StrCat(EscapeHtml(line.name), ", ", FormatCount(point.tokens), " tokens: ",
                      difference ? absl::StrFormat("%+.4f (%+.4f to %+.4f)", point.value, point.low, point.high)
                                 : absl::StrFormat("%.4f (%.4f to %.4f)", point.value, point.low, point.high));
}

std::string Curve(const Frame& frame, const ChartLine& line, bool difference) {
  std::string svg = absl::StrCat("<path class=\"band\" d=\"", Band(frame, line.points), "\"/>\n");
  for (const auto& run : line.runs) absl::StrAppend(&svg, "<path class=\"run\" d=\"", Path(frame, run), "\"/>\n");
  absl::StrAppend(&svg, "<path class=\"mean\" d=\"", Path(frame, line.points), "\"/>\n");
  for (const ChartPoint& point : line.points) {
    const double y = frame.Y(point.value);
    if (y < frame.top || y > frame.bottom) continue;
    absl::StrAppend(&svg, "<circle cx=\"", Number(frame.X(point.tokens)), "\" cy=\"", Number(y), "\" r=\"4\"><title>",
                    PointTitle(line, point, difference), "</title></circle>\n");
  }
  return svg;
}

struct EndLabel {
  size_t line = 0;
  double y = 0;
};

// Names at the ends of the curves, moved apart where they would cover each other.
std::vector<EndLabel> EndLabels(const Chart& chart, const Frame& frame) {
  std::vector<EndLabel> labels;
  for (size_t i = 0; i < chart.lines.size(); ++i) {
    if (chart.lines[i].points.empty()) continue;
    labels.push_back({i, std::clamp(frame.Y(chart.lines[i].points.back().value), frame.top, frame.bottom)});
  }
  std::stable_sort(labels.begin(), labels.end(), [](const EndLabel& a, const EndLabel& b) { return a.y < b.y; });
  for (size_t i = 1; i < labels.size(); ++i) labels[i].y = std::max(labels[i].y, labels[i - 1].y + kLabelHeight);
  double limit = frame.bottom;
  for (auto label = labels.rbegin(); label != labels.rend(); ++label) {
    label->y = std::min(label->y, limit);
    limit = label->y - kLabelHeight;
  }
  return labels;
}

std::string Describe(const Chart& chart) {
  std::string text = "Last values: ";
  for (const ChartLine& line : chart.lines) {
    if (line.points.empty()) continue;
    const ChartPoint& last = line.points.back();
    absl::StrAppend(&text, line.name, " ",
                    chart.difference ? absl::StrFormat("%+.4f", last.value) : absl::StrFormat("%.4f", last.value), " at ",
                    FormatCount(last.tokens), " tokens; ");
  }
  return text;
}

size_t SeriesOf(const std::string& name, const std::vector<std::string>& names) {
  return static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

}  // namespace

std::string SvgChart(const Chart& chart, const std::string& id, const std::vector<std::string>& names) {
  if (std::all_of(chart.lines.begin(), chart.lines.end(), [](const ChartLine& line) { return line.points.empty(); })) {
    return "<p>Nothing to draw yet.</p>\n";
  }
  const Frame frame{.tokens = TokenRange(chart), .values = ValueRange(chart)};
  std::string svg = Open(id, kHeight, chart.title, Describe(chart));
  absl::StrAppendFormat(&svg, "<clipPath id=\"%s-c\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/></clipPath>\n", id,
                        frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  absl::StrAppend(&svg, ValueAxis(frame, chart.difference), TokenAxis(frame), "<g clip-path=\"url(#", id, "-c)\">\n");
  for (const bool baseline : {false, true}) {  // the baseline last, so that none hides it
    for (const ChartLine& line : chart.lines) {
      if (line.baseline != baseline) continue;
      absl::StrAppend(&svg, "<g class=\"series-", SeriesOf(line.name, names), " ", ColourClass(line), "\">\n",
                      Curve(frame, line, chart.difference), "</g>\n");
    }
  }
  svg += "</g>\n";
  for (const EndLabel& label : EndLabels(chart, frame)) {
    const ChartLine& line = chart.lines[label.line];
    absl::StrAppendFormat(&svg, "<text class=\"end series-%d %s\" x=\"%.1f\" y=\"%.1f\" dy=\".35em\">%s</text>\n",
                          SeriesOf(line.name, names), ColourClass(line), frame.right + 8, label.y,
                          EscapeHtml(Truncate(line.name, 16)));
  }
  return svg + "</svg>\n";
}

std::string SvgIntervals(const v1::AblationComparison& comparison, const std::string& metric, const std::string& id) {
  struct Row {
    const v1::ArmCurve* curve;
    const v1::ArmPoint* point;
  };
  std::vector<Row> rows;
  Range range{0, 0};
  for (const v1::ArmSummary& arm : comparison.arms()) {
    const v1::ArmCurve* curve = FindCurve(comparison, arm.name(), metric);
    const v1::ArmPoint* point = FinalPoint(curve);
    if (point == nullptr || point->pairs() == 0 || arm.name() == comparison.baseline()) continue;
    rows.push_back({curve, point});
    const bool interval = point->pairs() > 1;
    range.low = std::min(range.low, interval ? point->low() : point->difference());
    range.high = std::max(range.high, interval ? point->high() : point->difference());
  }
  if (rows.empty()) return "<p>No pair of seeds to compare yet.</p>\n";
  const double margin = std::max((range.high - range.low) * 0.06, 1e-6);
  const double height = kTop + kRowHeight * static_cast<double>(rows.size()) + kBottom;
  const Frame frame{
      .tokens = {range.low - margin, range.high + margin}, .left = 170, .right = kWidth - 24, .bottom = height - kBottom};
  std::string description, marks;
  double y = frame.top + kRowHeight / 2;
  for (const Row& row : rows) {
    const v1::ArmPoint& point = *row.point;
    const std::string text =
        absl::StrCat(row.curve->arm(), ": ", absl::StrFormat("%+.4f", point.difference()),
                     point.pairs() > 1 ? absl::StrFormat(", 95%% interval %+.4f to %+.4f", point.low(), point.high()) : "", ", ",
                     VerdictName(row.curve->verdict()));
    absl::StrAppend(&description, text, "; ");
    const std::string colour = absl::StrCat("arm-", ColourOf(comparison, row.curve->arm()) % 7);
    absl::StrAppendFormat(
        &marks,
        "<g class=\"%s\"><title>%s</title><text class=\"end\" x=\"%.1f\" y=\"%.1f\" dy=\".35em\" text-anchor=\"end\">%s</text>",
        colour, EscapeHtml(text), frame.left - 10, y, EscapeHtml(Truncate(row.curve->arm(), 18)));
    if (point.pairs() > 1) {
      absl::StrAppendFormat(&marks, "<path class=\"mean\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv10M%.1f %.1fv10\"/>", frame.X(point.low()),
                            y, frame.X(point.high()), frame.X(point.low()), y - 5, frame.X(point.high()), y - 5);
    }
    absl::StrAppendFormat(&marks, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"6\"/></g>\n", frame.X(point.difference()), y);
    y += kRowHeight;
  }
  std::string svg = Open(id, height, absl::StrCat(metric, ": difference to ", comparison.baseline(), " at the end"), description);
  const std::vector<double> ticks = Ticks(frame.tokens, 6);
  for (size_t i = 0; i < ticks.size(); ++i) {
    const double x = frame.X(ticks[i]);
    const std::string text = TickText(ticks, i);
    absl::StrAppendFormat(
        &svg,
        "<path class=\"%s\" d=\"M%.1f %.1fV%.1f\"/><text x=\"%.1f\" y=\"%.1f\" dy=\"1.5em\" text-anchor=\"middle\"%s>%s</text>\n",
        text == "0" ? "zero" : "grid", x, frame.top, frame.bottom, x, frame.bottom,
        i % 2 == 1 && text != "0" ? " class=\"minor\"" : "", ticks[i] > 0 && text != "0" ? "+" + text : text);
  }
  absl::StrAppendFormat(&svg,
                        "<text x=\"%.1f\" y=\"%.1f\" dy=\"2.7em\" text-anchor=\"middle\">left of 0: lower loss than %s</text>\n",
                        (frame.left + frame.right) / 2, frame.bottom, EscapeHtml(Truncate(comparison.baseline(), 24)));
  return absl::StrCat(svg, marks, "</svg>\n");
}

}  // namespace polymoe::polyctl
