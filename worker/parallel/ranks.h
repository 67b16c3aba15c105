// The groups that one rank is in. Ranks form data parallel x expert parallel: with EP ranks to a copy of the experts, ranks
// [i EP, (i + 1) EP) share one copy and rank r holds part r % EP of it.
#ifndef POLYMOE_WORKER_PARALLEL_RANKS_H_
#define POLYMOE_WORKER_PARALLEL_RANKS_H_

#include <cstdint>

#include "worker/parallel/group.h"

namespace polymoe {

struct Ranks {
  Group& world;
  Group& experts;   // those that share a copy of the experts
  Group& replicas;  // those that hold the same part of it; may be `world`

  uint64_t bytes_sent() const {
    return world.bytes_sent() + experts.bytes_sent() + (&replicas == &world ? 0 : replicas.bytes_sent());
  }
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_RANKS_H_
