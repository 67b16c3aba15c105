// Which ranks belong together: those that share the experts, and those that hold the same ones.
//
// Of `world_size` ranks, each `expert_parallel` consecutive ones share the experts among them (an expert group: all-to-all of rows), and
// the ranks at the same place in each expert group hold the same shard of the experts (a replica group: sums of its gradients). With 4
// ranks and 2 expert-parallel: expert groups {0, 1} {2, 3}, replica groups {0, 2} {1, 3}.
#ifndef POLYMOE_WORKER_PARALLEL_LAYOUT_H_
#define POLYMOE_WORKER_PARALLEL_LAYOUT_H_

#include <memory>
#include <vector>

#include "absl/time/time.h"

#include "worker/parallel/group.h"
#include "worker/parallel/transport.h"

namespace polymoe {

struct Layout {
  std::vector<int> experts, replicas;  // the groups of one rank, by rank in the world, ascending

  // `expert_parallel` divides `world_size`.
  static Layout Of(int world_size, int rank, int expert_parallel);
};

// The groups of one rank and what carries their messages; groups of one need none. An error of one group, and Abort of one, is an error
// of all.
struct Ranks {
  std::unique_ptr<Transport> transport;
  std::unique_ptr<Group> world, experts, replicas;
};

// No rank is waited for longer than `deadline` in any operation. `transport` may be null for a world of one.
Ranks MakeRanks(std::unique_ptr<Transport> transport, int expert_parallel, absl::Duration deadline);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_LAYOUT_H_
