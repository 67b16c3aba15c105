#include "polyctl/render/memory.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "common/units.h"

namespace polymoe::polyctl {

Table MemoryTable(const MemoryPlan& plan, uint32_t threads) {
  Table table{.columns = {{absl::StrCat("MEMORY WITH ", threads, threads == 1 ? " THREAD" : " THREADS")},
                          {"SIZE", Align::kRight},
                          {"SHARE", Align::kRight}}};
  const auto add = [&](const std::string& name, uint64_t bytes) {
    const double share = static_cast<double>(bytes) / static_cast<double>(plan.total);
    table.rows.push_back({name, FormatBytes(static_cast<double>(bytes)), absl::StrFormat("%.1f%%", 100 * share)});
  };
  for (const MemoryRow& row : plan.rows) add(row.name, row.bytes);
  add("peak memory of a rank", plan.total);
  return table;
}

}  // namespace polymoe::polyctl
