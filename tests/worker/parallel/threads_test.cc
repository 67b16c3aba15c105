// Groups of threads.
#include "tests/worker/parallel/group_contract.h"
#include "worker/parallel/thread_transport.h"

namespace polymoe {
namespace {

std::vector<std::unique_ptr<Transport>> Threads(int size) {
  return ConnectThreads(size, /*seed=*/5);
}

INSTANTIATE_TEST_SUITE_P(Threads, GroupTest,
                         ::testing::Values(GroupCase{Threads, 1}, GroupCase{Threads, 2}, GroupCase{Threads, 3},
                                           GroupCase{Threads, 4}, GroupCase{Threads, 5}),
                         GroupCaseName);
INSTANTIATE_TEST_SUITE_P(Threads, GroupErrorTest,
                         ::testing::Values(GroupCase{Threads, 2}, GroupCase{Threads, 3}, GroupCase{Threads, 4},
                                           GroupCase{Threads, 5}),
                         GroupCaseName);

}  // namespace
}  // namespace polymoe
