// The memory that a rank of a job needs, as people read it.
#ifndef POLYMOE_POLYCTL_RENDER_MEMORY_H_
#define POLYMOE_POLYCTL_RENDER_MEMORY_H_

#include <cstdint>

#include "common/spec/memory_plan.h"
#include "polyctl/render/table.h"

namespace polymoe::polyctl {

// The rows of the plan in its order, with their share, and the sum last. `threads` is what it was made for; the header says so.
Table MemoryTable(const MemoryPlan& plan, uint32_t threads);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_MEMORY_H_
