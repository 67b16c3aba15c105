// Where the ranks of one attempt leave each other what they need to connect: addresses, or NCCL's id.
#ifndef POLYMOE_WORKER_PARALLEL_KEY_VALUE_H_
#define POLYMOE_WORKER_PARALLEL_KEY_VALUE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace polymoe {

class KeyValue {
 public:
  virtual ~KeyValue() = default;
  // For all ranks, while this object lives at least; destroy it when the meeting is over. A key has at most 256 bytes of letters,
  // digits and '-', a value at most 64 KiB.
  virtual absl::Status Put(const std::string& key, const std::string& value) = 0;
  // The values in the order of the keys, once all are there. `until` is on Clock::Real()'s monotonic clock; DEADLINE_EXCEEDED names
  // the keys that were missing then.
  virtual absl::StatusOr<std::vector<std::string>> Wait(const std::vector<std::string>& keys, absl::Duration until) = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_KEY_VALUE_H_
