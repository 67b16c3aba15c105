// How much memory one trainer rank needs at its peak, counted before it starts. Used by `polyctl params` and by the trainer, which
// refuses a job that its machine cannot hold.
#ifndef POLYMOE_COMMON_SPEC_MEMORY_PLAN_H_
#define POLYMOE_COMMON_SPEC_MEMORY_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

namespace polymoe {

namespace v1 {
class JobSpec;
}

// Rows of logits that worker/model holds at a time; the model states the same number (it does not include common/spec).
inline constexpr uint64_t kLogitRows = 512;

// Allowances for what does not grow with the model, rounded up: the whole trainer of a tiny job takes 22 MiB.
inline constexpr uint64_t kThreadBytes = uint64_t{4} << 20;    // of each thread: packed blocks of matrices, its stack
inline constexpr uint64_t kProgramBytes = uint64_t{40} << 20;  // the binary, its libraries, buffers of data and reports

struct MemoryRow {
  std::string name;
  uint64_t bytes = 0;
};

struct MemoryPlan {
  // "weights", "gradients", "moments", "bf16 copy" (bf16 only), "checkpoint copy", "activations", "scratch", "analyses" (effective ranks
  // only), "threads", "program".
  std::vector<MemoryRow> rows;
  uint64_t total = 0;
  // Of these rows: what grows with parameters; what a forward pass leaves behind for the backward pass; what all layers use in turn.
  uint64_t parameters = 0, activations = 0, scratch = 0;
};

// `spec` is complete, with sizes as they stand there, for one of its spec.resources.ranks. What depends on the routing is counted as if
// all experts got the same number of tokens; a rank whose experts get more takes more. A plan beyond 2^63 bytes says 2^63.
MemoryPlan PlanMemory(const v1::JobSpec& spec, uint32_t threads);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_MEMORY_PLAN_H_
