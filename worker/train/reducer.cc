#include "worker/train/reducer.h"

#include <utility>

#include "common/status.h"

namespace polymoe {

void Reducer::StartGradients(int stage) {
  const std::vector<ShardedSection>& sections = sharding_.sections();
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section& section = sections[i].section;
    if (section.stage != stage || !started_.ok()) continue;
    Group& group = GroupOf(section);
    started_ = group.Finish(Channel(i));
    if (started_.ok()) started_ = group.StartReduceScatterSum(Channel(i), gradients_ + section.begin, sections[i].cuts);
  }
}

absl::Status Reducer::FinishGradients() {
  POLYMOE_RETURN_IF_ERROR(std::exchange(started_, absl::OkStatus()));
  const std::vector<ShardedSection>& sections = sharding_.sections();
  for (size_t i = 0; i < sections.size(); ++i) POLYMOE_RETURN_IF_ERROR(GroupOf(sections[i].section).Finish(Channel(i)));
  return absl::OkStatus();
}

absl::Status Reducer::ShareParameters() {
  const std::vector<ShardedSection>& sections = sharding_.sections();
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section& section = sections[i].section;
    Group& group = GroupOf(section);
    POLYMOE_RETURN_IF_ERROR(group.Finish(Channel(i)));
    if (section.product && rounded_ != nullptr) {
      POLYMOE_RETURN_IF_ERROR(group.StartAllGather(Channel(i), rounded_ + section.begin, sections[i].cuts, sizeof(BF16)));
    } else {
      POLYMOE_RETURN_IF_ERROR(group.StartAllGather(Channel(i), parameters_ + section.begin, sections[i].cuts, sizeof(float)));
    }
  }
  for (size_t i = 0; i < sections.size(); ++i) POLYMOE_RETURN_IF_ERROR(GroupOf(sections[i].section).Finish(Channel(i)));
  return absl::OkStatus();
}

int64_t Reducer::BytesNeeded() const {
  int64_t bytes = 0;
  for (const ShardedSection& s : sharding_.sections()) {
    const int64_t own = s.own_end() - s.own_begin(),
                  value = s.section.product && rounded_ != nullptr ? sizeof(BF16) : sizeof(float);
    bytes += (s.section.size() - own) * static_cast<int64_t>(sizeof(float)) + own * (s.place.size - 1) * value;
  }
  return bytes;
}

}  // namespace polymoe
