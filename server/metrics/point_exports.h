// Which points of trainers are gauges on /metrics, and under what names.
#ifndef POLYMOE_SERVER_METRICS_POINT_EXPORTS_H_
#define POLYMOE_SERVER_METRICS_POINT_EXPORTS_H_

#include <utility>
#include <vector>

namespace polymoe {

// One exported metric: its name at the trainer, its family here, and what the parts of the trainer's name behind the first '/' mean.
// A label with a fixed value distinguishes siblings of one family.
struct PointExport {
  const char* name;
  const char* family;
  const char* help;
  std::vector<const char*> part_labels;
  std::pair<const char*, const char*> fixed = {"", ""};
};

const std::vector<PointExport>& PointExports();

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_POINT_EXPORTS_H_
