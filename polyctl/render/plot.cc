#include "polyctl/render/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/string_view.h"

namespace polymoe::polyctl {
namespace {

// Mean of each of `parts` equal runs of `values`; a run with a value that is not finite is NaN.
std::vector<double> Average(const std::vector<double>& values, size_t parts) {
  std::vector<double> means;
  for (size_t i = 0; i < parts; ++i) {
    const size_t first = i * values.size() / parts, last = (i + 1) * values.size() / parts;
    double sum = 0;
    for (size_t j = first; j < last; ++j) sum += values[j];
    means.push_back(sum / static_cast<double>(last - first));
  }
  return means;
}

}  // namespace

std::string Sparkline(const std::vector<double>& values, int width) {
  static constexpr absl::string_view kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::vector<double> points = Average(values, std::min<size_t>(values.size(), std::max(0, width)));
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : points) {
    if (!std::isfinite(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  std::string line;
  for (const double value : points) {
    if (!std::isfinite(value)) {
      line += '!';
      continue;
    }
    const int level = high > low ? static_cast<int>((value - low) / (high - low) * 7.999) : 0;
    line += std::string(kBlocks[level]);
  }
  return line;
}

std::string ProgressBar(double fraction, int width) {
  static constexpr absl::string_view kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double share = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  const int eighths = static_cast<int>(share * width * 8);
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  bar += std::string(kEighths[eighths % 8]);
  for (int i = (eighths + 7) / 8; i < width; ++i) bar += "░";
  return bar;
}

}  // namespace polymoe::polyctl
