#include "polyctl/render/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace polymoe::polyctl {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool Finite(const ChartPoint& point) {
  return std::isfinite(point.value) && std::isfinite(point.low) && std::isfinite(point.high);
}

std::vector<ChartPoint> MeanPoints(const v1::ArmCurve& curve) {
  std::vector<ChartPoint> points;
  for (const v1::ArmPoint& point : curve.points()) {
    if (point.n() == 0) continue;
    points.push_back({static_cast<double>(point.tokens()), point.mean(), point.min(), point.max()});
    if (!Finite(points.back())) points.pop_back();
  }
  return points;
}

std::vector<ChartPoint> DifferencePoints(const v1::ArmCurve& curve) {
  std::vector<ChartPoint> points;
  for (const v1::ArmPoint& point : curve.points()) {
    if (point.pairs() == 0) continue;
    const bool band = point.pairs() > 1;
    points.push_back({static_cast<double>(point.tokens()), point.difference(), band ? point.low() : point.difference(),
                      band ? point.high() : point.difference()});
    if (!Finite(points.back())) points.pop_back();
  }
  return points;
}

std::vector<ChartPoint> RunPoints(const v1::AblationComparison& comparison, const v1::RunCurve& run) {
  std::vector<ChartPoint> points;
  for (int i = 0; i < std::min(run.values_size(), comparison.tokens_size()); ++i) {
    const double value = run.values(i);
    if (std::isfinite(value)) points.push_back({static_cast<double>(comparison.tokens(i)), value, value, value});
  }
  return points;
}

ChartLine LineOf(const v1::AblationComparison& comparison, const v1::ArmCurve& curve) {
  return {curve.arm(), ColourOf(comparison, curve.arm()), curve.arm() == comparison.baseline(), {}, {}};
}

void Widen(Range& range, double value) {
  range.low = std::min(range.low, value);
  range.high = std::max(range.high, value);
}

}  // namespace

size_t ColourOf(const v1::AblationComparison& comparison, const std::string& arm) {
  size_t colour = 0;
  for (const v1::ArmSummary& known : comparison.arms()) {
    if (known.name() == arm) break;
    if (known.name() != comparison.baseline()) ++colour;
  }
  return colour;
}

Chart LossChart(const v1::AblationComparison& comparison, const std::string& metric) {
  Chart chart{.title = metric};
  for (const v1::ArmCurve& curve : comparison.curves()) {
    if (curve.metric() != metric) continue;
    ChartLine& line = chart.lines.emplace_back(LineOf(comparison, curve));
    line.points = MeanPoints(curve);
    for (const v1::RunCurve& run : comparison.runs()) {
      if (run.metric() == metric && run.arm() == curve.arm()) line.runs.push_back(RunPoints(comparison, run));
    }
  }
  return chart;
}

Chart DeltaChart(const v1::AblationComparison& comparison, const std::string& metric) {
  Chart chart{.title = absl::StrCat(metric, ", difference to ", comparison.baseline()), .difference = true};
  for (const v1::ArmCurve& curve : comparison.curves()) {
    if (curve.metric() != metric || curve.arm() == comparison.baseline()) continue;
    chart.lines.push_back(LineOf(comparison, curve));
    chart.lines.back().points = DifferencePoints(curve);
  }
  return chart;
}

Range TokenRange(const Chart& chart) {
  Range range{0, 0};
  for (const ChartLine& line : chart.lines) {
    if (!line.points.empty()) Widen(range, line.points.back().tokens);
  }
  return range.high > 0 ? range : Range{};
}

Range ValueRange(const Chart& chart) {
  const double from = TokenRange(chart).high / 3;
  Range values{kInfinity, -kInfinity}, bands = values;
  if (chart.difference) Widen(values, 0);
  for (const ChartLine& line : chart.lines) {
    for (const ChartPoint& point : line.points) {
      if (point.tokens < from) continue;
      Widen(values, point.value);
      Widen(bands, point.low);
      Widen(bands, point.high);
    }
  }
  if (!std::isfinite(values.low)) return {};
  const double most = values.high - values.low;
  Range range{std::min(values.low, std::max(bands.low, values.low - most / 2)),
              std::max(values.high, std::min(bands.high, values.high + most / 2))};
  const double extent = range.high - range.low;
  const double margin = extent > 0 ? extent * 0.05 : std::max(std::abs(range.low) * 0.05, 1e-6);
  return {range.low - margin, range.high + margin};
}

std::vector<double> Ticks(Range range, int most) {
  const double extent = range.high - range.low;
  double step = std::pow(10, std::floor(std::log10(extent / most)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if (std::floor(range.high / (step * factor)) - std::ceil(range.low / (step * factor)) + 1 <= most) {
      step *= factor;
      break;
    }
  }
  std::vector<double> ticks;
  const double first = std::ceil(range.low / step);
  const int count = static_cast<int>(std::floor(range.high / step) - first) + 1;
  for (int i = 0; i < count; ++i) ticks.push_back((first + i) * step);
  return ticks;
}

std::string TickText(const std::vector<double>& ticks, size_t i) {
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : std::abs(ticks[i]);
  const int decimals = step > 0 ? std::clamp(static_cast<int>(-std::floor(std::log10(step) + 1e-9)), 0, 6) : 0;
  const std::string text = absl::StrFormat("%.*f", decimals, ticks[i]);
  return std::abs(ticks[i]) < step / 2 ? "0" : text;
}

}  // namespace polymoe::polyctl
