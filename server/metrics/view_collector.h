// Families that are made of the coordinator's newest view at each scrape, so that nothing has to be kept in step with it. Register it
// with the exposer and the coordinator; it refers to neither. Thread-safe.
#ifndef POLYMOE_SERVER_METRICS_VIEW_COLLECTOR_H_
#define POLYMOE_SERVER_METRICS_VIEW_COLLECTOR_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "common/spec/names.h"
#include "server/state/view.h"

namespace polymoe {

// Those that have not ended, then the `ended_kept` that ended last, newest first.
template <class T>
std::vector<const T*> LastEnded(std::vector<const T*> all, size_t ended_kept) {
  const auto ended = std::stable_partition(all.begin(), all.end(), [](const T* one) { return !IsFinal(one->state()); });
  std::stable_sort(ended, all.end(), [](const T* a, const T* b) { return a->finished_ms() > b->finished_ms(); });
  all.resize(std::min(all.size(), static_cast<size_t>(ended - all.begin()) + ended_kept));
  return all;
}

class ViewCollector : public prometheus::Collectable, public CommitListener {
 public:
  // At start: what the store had. Changes nothing after the first commit.
  void Show(std::shared_ptr<const View> view) {
    const std::lock_guard lock(mutex_);
    if (view_ == nullptr) view_ = std::move(view);
  }
  void OnCommit(const Committed& committed) final {
    const std::lock_guard lock(mutex_);
    view_ = committed.view;
  }

  std::vector<prometheus::MetricFamily> Collect() const final {
    std::shared_ptr<const View> view;
    {
      const std::lock_guard lock(mutex_);
      view = view_;
    }
    return view == nullptr ? std::vector<prometheus::MetricFamily>() : FamiliesOf(*view);
  }

 private:
  virtual std::vector<prometheus::MetricFamily> FamiliesOf(const View& view) const = 0;

  mutable std::mutex mutex_;
  std::shared_ptr<const View> view_;  // null until there is one
};

}  // namespace polymoe

#endif  // POLYMOE_SERVER_METRICS_VIEW_COLLECTOR_H_
