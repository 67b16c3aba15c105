// The state of a small training run, cut up in different ways, and what it takes to save and load it.
#ifndef POLYMOE_TESTS_WORKER_CHECKPOINT_SAMPLE_STATE_H_
#define POLYMOE_TESTS_WORKER_CHECKPOINT_SAMPLE_STATE_H_

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/writer.h"

namespace polymoe {

inline TrainerState At(uint64_t step) {
  return {.step = step, .tokens = step * 10, .sequences = step * 2, .updates = step, .data_order = "d", .model = "m"};
}

// Four tensors whose values depend on `seed`; some have bits that only a copy keeps.
struct SampleState {
  explicit SampleState(float seed) {
    for (auto& [name, shape] : Shapes()) {
      std::vector<float>& values = tensors[name];
      values.resize(RowsOf(shape) * RowSize(shape));
      for (size_t i = 0; i < values.size(); ++i) values[i] = seed / static_cast<float>(i + 1);
    }
    tensors["norm"][0] = std::numeric_limits<float>::denorm_min();
    tensors["experts"][5] = -0.0f;
  }
  static std::map<std::string, std::vector<int64_t>> Shapes() {
    return {{"experts", {4, 2, 3}}, {"norm", {5}}, {"scale", {}}, {"w", {7, 2}}};
  }

  TensorSlab Slab(const std::string& name, int64_t begin, int64_t end) {
    const std::vector<int64_t> shape = Shapes().at(name);
    return {name, shape, begin, end, tensors[name].data() + begin * RowSize(shape)};
  }
  // What rank `rank` of `ranks` holds when all cut every tensor into pieces as equal as can be.
  std::vector<TensorSlab> Share(int rank, int ranks) {
    std::vector<TensorSlab> slabs;
    for (const auto& [name, shape] : Shapes())
      slabs.push_back(Slab(name, RowsOf(shape) * rank / ranks, RowsOf(shape) * (rank + 1) / ranks));
    return slabs;
  }
  std::vector<TensorSlab> All() { return Share(0, 1); }

  bool operator==(const SampleState&) const = default;
  std::map<std::string, std::vector<float>> tensors;
};

// One save of `ranks` ranks, each with its share, from start to commit. Rank 0's commit comes when all have written.
inline absl::Status SaveShares(Storage& storage, const TrainerState& state, SampleState& values, int ranks, uint32_t attempt = 1,
                               const Retention& retention = {.keep_last = 1000}) {
  std::vector<std::unique_ptr<CheckpointWriter>> writers;
  for (int rank = 0; rank < ranks; ++rank) {
    writers.push_back(std::make_unique<CheckpointWriter>(
        storage, WriterOptions{.rank = rank, .ranks = ranks, .attempt = attempt, .retention = retention}));
    absl::Status written = writers.back()->Start(state, values.Share(rank, ranks));
    if (written.ok()) written = writers.back()->Wait();
    if (!written.ok()) return written;
  }
  writers[0]->Commit();
  return writers[0]->Wait();
}

// The bits of SampleState(step), or a failed test.
inline void ExpectLoads(Storage& storage, uint64_t step) {
  SampleState loaded(-1);
  const auto state = LoadCheckpoint(storage, CheckpointName(step), "m", loaded.All());
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->step, step);
  EXPECT_EQ(loaded, SampleState(static_cast<float>(step)));
}

inline std::vector<uint64_t> Steps(Storage& storage) {
  std::vector<uint64_t> steps;
  const auto checkpoints = ListCheckpoints(storage);
  EXPECT_TRUE(checkpoints.ok()) << checkpoints.status();
  for (const CheckpointInfo& checkpoint : *checkpoints) steps.push_back(checkpoint.step);
  return steps;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_CHECKPOINT_SAMPLE_STATE_H_
