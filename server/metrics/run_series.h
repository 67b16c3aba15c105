// The series of one run in families of one kind of metric; they go with their owner.
#ifndef POLYMOE_SERVER_METRICS_RUN_SERIES_H_
#define POLYMOE_SERVER_METRICS_RUN_SERIES_H_

#include <prometheus/family.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace polymoe {

template <typename Metric>
class RunSeries {
 public:
  using Family = prometheus::Family<Metric>;
  using Labels = std::map<std::string, std::string>;

  explicit RunSeries(std::string run) : run_(std::move(run)) {}
  RunSeries(const RunSeries&) = delete;
  RunSeries& operator=(const RunSeries&) = delete;
  ~RunSeries() {
    for (const auto& [key, series] : series_) series.first->Remove(series.second);
  }

  // The series with these labels and run=<its run>, made with `arguments` when it is new.
  template <typename... Arguments>
  Metric& Get(Family* family, Labels labels, const Arguments&... arguments) {
    std::string key = absl::StrCat(reinterpret_cast<uintptr_t>(family));
    for (const auto& [name, text] : labels) absl::StrAppend(&key, "\n", text);
    auto& series = series_[key];
    if (series.second == nullptr) {
      labels["run"] = run_;
      series = {family, &family->Add(labels, arguments...)};
    }
    return *series.second;
  }

  // Removes the series of these families.
  template <typename Predicate>
  void RemoveIf(const Predicate& is_meant) {
    std::erase_if(series_, [&](const auto& entry) {
      const auto& [family, metric] = entry.second;
      if (!is_meant(family)) return false;
      family->Remove(metric);
      return true;
    });
  }

 private:
  std::string run_;
  std::map<std::string, std::pair<Family*, Metric*>> series_;
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_RUN_SERIES_H_
