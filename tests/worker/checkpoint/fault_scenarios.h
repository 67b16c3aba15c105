// Saves that meet a fault, and what must hold afterwards, whatever the fault was and wherever it struck.
#ifndef POLYMOE_TESTS_WORKER_CHECKPOINT_FAULT_SCENARIOS_H_
#define POLYMOE_TESTS_WORKER_CHECKPOINT_FAULT_SCENARIOS_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/worker/checkpoint/sample_state.h"

namespace polymoe {

inline constexpr Retention kKeepTwo = {.keep_last = 2};

inline absl::Status SaveStep(Storage& storage, uint64_t step, uint32_t attempt) {
  SampleState values(static_cast<float>(step));
  return SaveShares(storage, At(step), values, 2, attempt, kKeepTwo);
}

struct Scenario {
  std::string name;
  std::vector<uint64_t> before;                   // committed already, by attempt 1
  std::function<absl::Status(Storage&)> faulted;  // what meets the fault
};

// In both, the save is of step 3.
inline std::vector<Scenario> Scenarios() {
  return {{"save, commit and prune", {1, 2}, [](Storage& storage) { return SaveStep(storage, 3, 1); }},
          {"set a damaged one aside and save it anew", {1, 2, 3}, [](Storage& storage) {
             const absl::Status aside = SetAside(storage, CheckpointName(3));
             return aside.ok() ? SaveStep(storage, 3, 2) : aside;
           }}};
}

inline void Prepare(Storage& storage, const Scenario& scenario) {
  for (const uint64_t step : scenario.before) {
    const absl::Status saved = SaveStep(storage, step, 1);
    ASSERT_TRUE(saved.ok()) << saved;
  }
}

// After the fault, with the storage in order again. `succeeded`: the saving program was told that all is well.
inline void ExpectSound(Storage& storage, bool succeeded) {
  const std::vector<uint64_t> steps = Steps(storage);
  ASSERT_FALSE(steps.empty());
  EXPECT_GE(steps.back(), succeeded ? 3u : 2u);
  for (const uint64_t step : steps) ExpectLoads(storage, step);
  // The next attempt goes on from there, and clears up.
  for (const uint64_t step : {3, 4}) {
    const absl::Status saved = SaveStep(storage, step, 3);
    ASSERT_TRUE(saved.ok()) << saved;
    ExpectLoads(storage, step);
  }
  EXPECT_EQ(Steps(storage), (std::vector<uint64_t>{3, 4}));
  for (const uint64_t step : {3, 4}) {
    EXPECT_THAT(storage.List(CheckpointName(step)).value(), ::testing::ElementsAre("COMMITTED", ::testing::StartsWith("attempt-")));
  }
  const std::vector<std::string> names = storage.List("").value();
  for (const std::string& name : names) {
    EXPECT_TRUE(name == "step-00000003/" || name == "step-00000004/" || name == "step-00000003.superseded/") << name;
  }
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_CHECKPOINT_FAULT_SCENARIOS_H_
