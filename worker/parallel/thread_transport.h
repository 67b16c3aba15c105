// Ranks that are threads of one process, each with a transport: for tests, and wherever processes would be too much.
//
// Messages are carried by a thread of their own, one at a time, in an order drawn from `seed`: what may finish in any order does.
// A rank whose transport is closed or gone is lost to the others; a rank that does not call is late.
#ifndef POLYMOE_WORKER_PARALLEL_THREAD_TRANSPORT_H_
#define POLYMOE_WORKER_PARALLEL_THREAD_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "worker/parallel/transport.h"

namespace polymoe {

// One transport a rank. The carrier ends with the last of them.
std::vector<std::unique_ptr<Transport>> ConnectThreads(int size, uint64_t seed = 1);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_THREAD_TRANSPORT_H_
