// Small plots made of block characters.
#ifndef POLYMOE_POLYCTL_RENDER_PLOT_H_
#define POLYMOE_POLYCTL_RENDER_PLOT_H_

#include <string>
#include <vector>

namespace polymoe::polyctl {

// One character a value, U+2581 (smallest) to U+2588 (largest); '!' for a value that is not finite. More values than `width` are
// averaged into `width` equal parts. All values alike give the lowest block.
std::string Sparkline(const std::vector<double>& values, int width);

// `width` columns, filled to `fraction` (cut to 0..1) in eighths of a column.
std::string ProgressBar(double fraction, int width);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_PLOT_H_
