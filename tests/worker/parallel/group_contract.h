// What every group promises, whatever carries its messages: group_contract_test.cc has the tests, threads_test.cc and gloo_test.cc
// instantiate them.
#ifndef POLYMOE_TESTS_WORKER_PARALLEL_GROUP_CONTRACT_H_
#define POLYMOE_TESTS_WORKER_PARALLEL_GROUP_CONTRACT_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "worker/parallel/layout.h"
#include "worker/parallel/transport.h"

namespace polymoe {

using Connect = std::vector<std::unique_ptr<Transport>> (*)(int size);

struct GroupCase {
  Connect connect;
  int size;
};

inline std::string GroupCaseName(const ::testing::TestParamInfo<GroupCase>& info) {
  return absl::StrCat(info.param.size, "ranks");
}

class GroupTest : public ::testing::TestWithParam<GroupCase> {
 protected:
  static int size() { return GetParam().size; }

  // Runs `body` with the groups of each rank, each in a thread of its own.
  static void Run(const std::function<void(Ranks&)>& body, int expert_parallel = 1, absl::Duration deadline = absl::Seconds(120)) {
    std::vector<std::unique_ptr<Transport>> transports = GetParam().connect(size());
    std::vector<std::thread> threads;
    for (auto& transport : transports) {
      threads.emplace_back([&body, &transport, expert_parallel, deadline] {
        Ranks ranks = MakeRanks(std::move(transport), expert_parallel, deadline);
        body(ranks);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  static void RunWorld(const std::function<void(Group&)>& body, absl::Duration deadline = absl::Seconds(120)) {
    Run([&](Ranks& ranks) { body(*ranks.world); }, 1, deadline);
  }
};

// With two ranks at least: what happens when one of them fails.
class GroupErrorTest : public GroupTest {};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_PARALLEL_GROUP_CONTRACT_H_
