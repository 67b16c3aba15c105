// Where the time of a step goes: a table of operations that calls another one and notes each call.
//
//   OpProfile profile(/*max_events=*/100000);
//   Model model(config, profile.Wrap(CpuOps<BF16>()), ...);
//   ... a step to warm up ...
//   profile.Record(true);
//   ... steps ...
//   profile.Record(false);
//   profile.rows(), profile.events()
//
// One profile at a time (the operations are plain functions, so what they report to is global), used by one thread. It costs two looks at
// the clock an operation and takes memory for new kinds of calls, which a step without it never does.
#ifndef POLYMOE_KERNELS_PROFILE_H_
#define POLYMOE_KERNELS_PROFILE_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace polymoe {

// One call as its cost counts: multiplications and additions of the products (of attention, those that causality leaves), and bytes of
// operands and results, each once.
struct OpCost {
  const char* op;
  std::array<int64_t, 3> sizes;  // that tell calls of one operation apart: rows, columns, depth; 0 where there is none
  double flops = 0;
  double bytes = 0;
};

class OpProfile {
 public:
  using Clock = std::chrono::steady_clock;

  // All calls of one operation with one set of sizes.
  struct Row {
    OpCost cost;  // of one call
    int64_t calls = 0;
    double seconds = 0;
  };
  struct Event {
    int32_t row;
    Clock::time_point start;
    double seconds;
  };

  // Keeps at most `max_events` single calls; the rows count all of them.
  explicit OpProfile(size_t max_events);
  ~OpProfile();
  OpProfile(const OpProfile&) = delete;
  OpProfile& operator=(const OpProfile&) = delete;

  template <class E>
  const Ops<E>& Wrap(const Ops<E>& base);

  // Whether calls are noted; at first not.
  void Record(bool on) { recording_ = on; }
  void Clear();
  const std::vector<Row>& rows() const { return rows_; }
  const std::vector<Event>& events() const { return events_; }

  void Add(const OpCost& cost, Clock::time_point start, Clock::time_point end);

 private:
  const size_t max_events_;
  bool recording_ = false;
  std::vector<Row> rows_;
  std::vector<Event> events_;
};

}  // namespace polymoe

#endif  // POLYMOE_KERNELS_PROFILE_H_
