#include "worker/train/sharding.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/worker/model/tiny_model.h"

namespace polymoe {
namespace {

ModelConfig Config() {
  ModelConfig config = TinyConfig(ActivationKind::kPolyNorm, /*moe=*/true);
  config.coefficients_per_expert = true;
  return config;
}

// Each row of each tensor of the model belongs to exactly one rank, whatever the layout.
TEST(Sharding, EveryRowHasOneOwner) {
  const ModelConfig config = Config();
  const ParameterTable whole(config);
  for (const auto& [world, shared_by] : std::vector<std::pair<int, int>>{{1, 1}, {2, 1}, {3, 1}, {2, 2}, {4, 2}, {8, 4}, {64, 1}}) {
    SCOPED_TRACE(testing::Message() << world << " ranks, experts shared by " << shared_by);
    std::map<std::string, std::vector<int>> owners;
    for (const Parameter& p : whole.parameters()) owners[p.name].resize(p.shape[0]);
    for (int rank = 0; rank < world; ++rank) {
      const ParameterTable table(config, ShardExperts(config, rank % shared_by, shared_by));
      const Sharding sharding(table, {rank, world}, {rank / shared_by, world / shared_by});
      int64_t owned = 0;
      for (const OwnedRows& rows : sharding.rows()) {
        EXPECT_EQ(rows.owned, owned) << "what is owned lies without gaps";
        EXPECT_EQ(rows.offset, rows.parameter->offset + rows.begin * rows.parameter->row_size());
        owned += rows.size();
        for (int64_t i = rows.begin; i < rows.end; ++i) ++owners.at(rows.parameter->name)[i];
      }
      EXPECT_EQ(owned, sharding.owned());
    }
    for (const auto& [name, counts] : owners) EXPECT_EQ(std::set<int>(counts.begin(), counts.end()), std::set<int>{1}) << name;
  }
}

TEST(Sharding, PiecesAreEvenUpToARow) {
  const ModelConfig config = Config();
  const ParameterTable table(config);
  const Sharding sharding(table, {0, 4}, {0, 4});
  int64_t longest = 0;
  for (const Parameter& p : table.parameters()) longest = std::max(longest, p.row_size());
  for (const ShardedSection& section : sharding.sections()) {
    ASSERT_EQ(section.cuts.size(), 5u);
    EXPECT_EQ(section.cuts.front(), 0);
    EXPECT_EQ(section.cuts.back(), section.section.size());
    for (int r = 0; r < 4; ++r) {
      EXPECT_LE(section.cuts[r], section.cuts[r + 1]);
      EXPECT_NEAR(static_cast<double>(section.cuts[r + 1] - section.cuts[r]), static_cast<double>(section.section.size()) / 4,
                  static_cast<double>(longest));
    }
  }
}

TEST(Sharding, CutsAreTheSameOnAllRanks) {
  const ModelConfig config = Config();
  const ParameterTable table(config);
  const Sharding first(table, {0, 3}, {0, 3}), last(table, {2, 3}, {2, 3});
  for (size_t i = 0; i < first.sections().size(); ++i) EXPECT_EQ(first.sections()[i].cuts, last.sections()[i].cuts);
}

}  // namespace
}  // namespace polymoe
