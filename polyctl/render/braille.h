// Charts on a terminal: 2x4 braille dots a character, or letters where the terminal knows ASCII only.
#ifndef POLYMOE_POLYCTL_RENDER_BRAILLE_H_
#define POLYMOE_POLYCTL_RENDER_BRAILLE_H_

#include <string>

#include "polyctl/render/chart.h"

namespace polymoe::polyctl {

struct TerminalOptions {
  bool colour = false;
  bool utf8 = true;
  int width = 80;   // columns of the whole chart
  int height = 16;  // lines of the plot, without title, axis and legend
};

// Title, plot with axes, legend. A letter stands for each curve: in the legend, and right of the plot at the height where the curve ends.
// The baseline is dashed. Every line ends with '\n'.
std::string DrawChart(const Chart& chart, const TerminalOptions& options);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_BRAILLE_H_
