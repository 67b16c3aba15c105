// Pages of a list, newest first. A page begins behind the last object of the one before, by (time, id): a new object moves no page.
#ifndef POLYMOE_SERVER_SERVICES_PAGE_H_
#define POLYMOE_SERVER_SERVICES_PAGE_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace polymoe {

template <class T>
struct Page {
  std::vector<std::shared_ptr<const T>> items;
  std::string next_token;  // empty on the last page
};

// Those of `all` that `wanted` takes. `size` 0 is 100, and 1000 the most. INVALID_ARGUMENT for a token that no page gave.
template <class T, class Wanted>
absl::StatusOr<Page<T>> PageOf(const std::map<std::string, std::shared_ptr<const T>>& all, const Wanted& wanted, uint32_t size,
                               const std::string& token) {
  const auto key = [](const T& item) { return std::make_pair(item.created_ms(), item.id()); };
  Page<T> page;
  for (const auto& [id, item] : all) {
    if (wanted(*item)) page.items.push_back(item);
  }
  std::sort(page.items.begin(), page.items.end(), [&](const auto& a, const auto& b) { return key(*a) > key(*b); });
  if (!token.empty()) {
    const auto last = all.find(token);
    if (last == all.end()) return absl::InvalidArgumentError("the page token is not one that List gave");
    std::erase_if(page.items, [&](const auto& item) { return key(*item) >= key(*last->second); });
  }
  const size_t most = size == 0 ? 100 : std::min<size_t>(size, 1000);
  if (page.items.size() > most) {
    page.items.resize(most);
    page.next_token = page.items.back()->id();
  }
  return page;
}

}  // namespace polymoe

#endif  // POLYMOE_SERVER_SERVICES_PAGE_H_
