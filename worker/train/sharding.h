// Who keeps the moments of which parameters (ZeRO-1, Rajbhandari et al. 2020, stage 1). Pure.
//
// Each section of the parameter table is shared out over the ranks that hold it: a dense one over all ranks, one of experts over the
// replicas of these experts. A rank's piece is whole rows of tensors, so that it can stand in a checkpoint as boxes. The gradient of a
// piece is summed to its owner, who updates it and gives it to the others.
#ifndef POLYMOE_WORKER_TRAIN_SHARDING_H_
#define POLYMOE_WORKER_TRAIN_SHARDING_H_

#include <cstdint>
#include <vector>

#include "worker/model/parameters.h"

namespace polymoe {

// A rank's place among those that hold the same section.
struct Place {
  int rank = 0, size = 1;
};

struct ShardedSection {
  Section section;
  std::vector<int64_t> cuts;  // [size + 1] from the section's start: piece r is [cuts[r], cuts[r + 1])
  Place place;

  int64_t own_begin() const { return section.begin + cuts[place.rank]; }
  int64_t own_end() const { return section.begin + cuts[place.rank + 1]; }
};

// Rows of one tensor that this rank owns.
struct OwnedRows {
  const Parameter* parameter = nullptr;
  int64_t begin = 0, end = 0;  // of the first dimension
  int64_t offset = 0;          // in the flat buffers of the table
  int64_t owned = 0;           // in the buffers of what is owned

  int64_t size() const { return (end - begin) * parameter->row_size(); }
};

class Sharding {
 public:
  // `table` is kept. `replicas`: among the ranks that hold the same experts.
  Sharding(const ParameterTable& table, Place world, Place replicas);

  const std::vector<ShardedSection>& sections() const { return sections_; }  // in the order of the table
  const std::vector<OwnedRows>& rows() const { return rows_; }               // ascending
  int64_t owned() const { return owned_; }                                   // floats

 private:
  std::vector<ShardedSection> sections_;
  std::vector<OwnedRows> rows_;
  int64_t owned_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_SHARDING_H_
