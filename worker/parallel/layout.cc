#include "worker/parallel/layout.h"

#include <numeric>
#include <utility>

#include "common/check.h"
#include "worker/parallel/message_group.h"
#include "worker/parallel/single_group.h"

namespace polymoe {
namespace {

std::unique_ptr<Group> MakeGroup(Transport* transport, std::vector<int> members, MessageGroup::Space space,
                                 absl::Duration deadline) {
  if (members.size() == 1) return std::make_unique<SingleGroup>();
  return std::make_unique<MessageGroup>(*transport, std::move(members), space, deadline);
}

}  // namespace

Layout Layout::Of(int world_size, int rank, int expert_parallel) {
  POLYMOE_CHECK(expert_parallel > 0 && world_size % expert_parallel == 0 && rank < world_size, "rank %d of %d, %d expert-parallel",
                rank, world_size, expert_parallel);
  Layout layout;
  const int position = rank % expert_parallel;
  for (int i = 0; i < expert_parallel; ++i) layout.experts.push_back(rank - position + i);
  for (int i = position; i < world_size; i += expert_parallel) layout.replicas.push_back(i);
  return layout;
}

Ranks MakeRanks(std::unique_ptr<Transport> transport, int expert_parallel, absl::Duration deadline) {
  const int size = transport == nullptr ? 1 : transport->size();
  Layout layout = Layout::Of(size, transport == nullptr ? 0 : transport->rank(), expert_parallel);
  std::vector<int> all(size);
  std::iota(all.begin(), all.end(), 0);
  Ranks ranks;
  ranks.world = MakeGroup(transport.get(), std::move(all), MessageGroup::kWorld, deadline);
  ranks.experts = MakeGroup(transport.get(), std::move(layout.experts), MessageGroup::kExperts, deadline);
  ranks.replicas = MakeGroup(transport.get(), std::move(layout.replicas), MessageGroup::kReplicas, deadline);
  ranks.transport = std::move(transport);
  return ranks;
}

}  // namespace polymoe
