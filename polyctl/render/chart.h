// A chart before it is drawn: curves over training tokens, one an arm. braille.h draws it on terminals and svg.h in reports, so that both
// show the same.
#ifndef POLYMOE_POLYCTL_RENDER_CHART_H_
#define POLYMOE_POLYCTL_RENDER_CHART_H_

#include <string>
#include <vector>

#include "polymoe/v1/metric.pb.h"

namespace polymoe::polyctl {

struct ChartPoint {
  double tokens = 0, value = 0;
  double low = 0, high = 0;  // the band; both `value` where there is none
};

struct ChartLine {
  std::string name;
  size_t colour = 0;  // see ColourOf
  bool baseline = false;
  std::vector<ChartPoint> points;             // ascending in tokens; all finite
  std::vector<std::vector<ChartPoint>> runs;  // the single runs behind the mean
};

struct Chart {
  std::string title;        // "val_loss", "val_loss, difference to relu"
  bool difference = false;  // 0 is the baseline and belongs into the picture
  std::vector<ChartLine> lines;
};

struct Range {
  double low = 0, high = 1;
};

// Mean of each arm, from the lowest to the highest seed; the single runs where the comparison has them.
Chart LossChart(const v1::AblationComparison& comparison, const std::string& metric);
// Paired difference of each arm to the baseline, with its 95% confidence interval.
Chart DeltaChart(const v1::AblationComparison& comparison, const std::string& metric);

// An arm has one colour everywhere: its place among the arms that are not the baseline. The baseline has none and is dashed.
size_t ColourOf(const v1::AblationComparison& comparison, const std::string& arm);

// From 0 to the last token count.
Range TokenRange(const Chart& chart);
// What the vertical axis shows: the curves from a third of the tokens on. What is before that is so high that nothing else could be told
// apart; it leaves the picture at the top. A wide interval of a difference is cut too, at twice the extent of the differences.
Range ValueRange(const Chart& chart);

// At most `most` round numbers within the range.
std::vector<double> Ticks(Range range, int most);
// Of one of Ticks, with as many decimals as tell them apart.
std::string TickText(const std::vector<double>& ticks, size_t i);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_CHART_H_
