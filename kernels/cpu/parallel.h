// Work over OpenMP threads. What an item computes never depends on which thread takes it, so results do not depend on the number of
// threads; sums over items go through partial results in a fixed partition and are added in its order.
#ifndef POLYMOE_KERNELS_CPU_PARALLEL_H_
#define POLYMOE_KERNELS_CPU_PARALLEL_H_

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace polymoe::cpu {

// Memory for one call, at the start of a cache line, kept by the thread that asks: it grows to the largest need once. Who needs several
// pieces of one type gives each a slot.
template <class T, int kSlot = 0>
T* ThreadScratch(size_t count) {
  constexpr size_t kLine = 64;
  thread_local std::vector<T> buffer;
  if (buffer.size() < count + kLine / sizeof(T)) buffer.resize(count + kLine / sizeof(T));
  void* start = buffer.data();
  size_t space = buffer.size() * sizeof(T);
  return static_cast<T*>(std::align(kLine, count * sizeof(T), start, space));
}

// The items that are left of one thread's share.
struct alignas(64) Share {
  std::atomic<int64_t> next;
  int64_t end;
};

// Equal shares of [0, count), one a thread, of neighbouring items; in memory of the calling thread.
inline Share* MakeShares(int64_t count, int threads) {
  thread_local std::vector<Share> shares;
  if (shares.size() < static_cast<size_t>(threads)) shares = std::vector<Share>(threads);
  for (int i = 0; i < threads; ++i) {
    shares[i].next.store(count * i / threads, std::memory_order_relaxed);
    shares[i].end = count * (i + 1) / threads;
  }
  return shares.data();
}

// f(i) for i in [0, count), on all threads: each takes the items of its own share in order, then helps with what is left of the others',
// since on a shared machine no two threads are equally fast.
template <class F>
void ParallelFor(int64_t count, const F& f) {
  const int threads = omp_get_max_threads();
  if (threads == 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) f(i);
    return;
  }
  Share* shares = MakeShares(count, threads);
#pragma omp parallel
  for (int i = 0; i < threads; ++i) {
    Share& share = shares[(omp_get_thread_num() + i) % threads];
    for (int64_t item; (item = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) f(item);
  }
}

// f(begin, end) over blocks of `block` consecutive items.
template <class F>
void ParallelBlocks(int64_t count, int64_t block, const F& f) {
  ParallelFor((count + block - 1) / block, [&](int64_t i) { f(i * block, std::min(count, (i + 1) * block)); });
}

}  // namespace polymoe::cpu

#endif  // POLYMOE_KERNELS_CPU_PARALLEL_H_
