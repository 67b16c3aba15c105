#include "worker/train/sharding.h"

#include <algorithm>

namespace polymoe {
namespace {

// The row boundary at or before `offset` of the flat buffer; `parameters` are those of its section.
int64_t RowBoundary(const std::vector<Parameter>& parameters, int64_t offset) {
  const auto next = std::upper_bound(parameters.begin(), parameters.end(), offset,
                                     [](int64_t value, const Parameter& p) { return value < p.offset; });
  const Parameter& p = *(next - 1);
  return p.offset + (offset - p.offset) / p.row_size() * p.row_size();
}

std::vector<int64_t> Cut(const ParameterTable& table, const Section& section, int pieces) {
  std::vector<int64_t> cuts(pieces + 1, section.size());
  for (int r = 0; r < pieces; ++r) {
    cuts[r] = RowBoundary(table.parameters(), section.begin + section.size() * r / pieces) - section.begin;
  }
  return cuts;
}

}  // namespace

Sharding::Sharding(const ParameterTable& table, Place world, Place replicas) {
  for (const Section& section : table.sections()) {
    const Place place = section.experts ? replicas : world;
    sections_.push_back({section, Cut(table, section, place.size), place});
    const ShardedSection& sharded = sections_.back();
    for (const Parameter& p : table.parameters()) {
      const int64_t begin = std::max(p.offset, sharded.own_begin()), end = std::min(p.offset + p.size, sharded.own_end());
      if (begin >= end) continue;
      rows_.push_back({&p, (begin - p.offset) / p.row_size(), (end - p.offset) / p.row_size(), begin, owned_});
      owned_ += end - begin;
    }
  }
}

}  // namespace polymoe
