// Rows over OpenMP threads. The work of one row never depends on how rows are shared out, so results do not depend on the number of
// threads; sums over rows go through partial results in a fixed partition and are added in its order.
#ifndef POLYMOE_KERNELS_CPU_PARALLEL_H_
#define POLYMOE_KERNELS_CPU_PARALLEL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace polymoe::cpu {

// f(i) for i in [0, count), on all threads when there is more than one unit of work.
template <class F>
void ParallelFor(int64_t count, const F& f) {
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t i = 0; i < count; ++i) f(i);
}

// f(begin, end) over blocks of `block` consecutive items.
template <class F>
void ParallelBlocks(int64_t count, int64_t block, const F& f) {
  ParallelFor((count + block - 1) / block, [&](int64_t i) { f(i * block, std::min(count, (i + 1) * block)); });
}

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

}  // namespace polymoe::cpu

#endif  // POLYMOE_KERNELS_CPU_PARALLEL_H_
