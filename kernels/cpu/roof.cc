#include "kernels/cpu/roof.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "kernels/ops.h"

namespace polymoe {
namespace {

constexpr int kRepeats = 15;

// The fastest of some runs: a roof is what was reached once.
template <class F>
double BestSeconds(const F& f) {
  double best = 1e30;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// 240 x 256 results over 256 units of depth: the operands take half a MiB, as in the products of linear.cc.
template <class E>
double ProductFlops() {
  constexpr int kRows = 240, kCols = 256, kUnits = 256, kCalls = 20;
  const auto& gemm = cpu::Gemm<E>();
  const int threads = omp_get_max_threads();
  const double seconds = BestSeconds([&] {
#pragma omp parallel num_threads(threads)
    {
      cpu::Unit* packed = cpu::ThreadScratch<cpu::Unit>(int64_t{kUnits} * (kRows + kCols));
      float* out = cpu::ThreadScratch<float>(int64_t{kRows} * kCols);
      for (int i = 0; i < kCalls; ++i) {
        gemm.strips_times(kRows, packed, kUnits, packed + int64_t{kUnits} * kRows, kCols, {.out = out, .ld = kCols});
      }
    }
  });
  return 2.0 * kRows * kCols * kUnits * cpu::kUnitElements<E> * kCalls * threads / seconds;
}

double MemoryBytes() {
  constexpr int64_t kCount = 32 << 20, kBlock = 1 << 16;  // 128 MiB each
  std::vector<float> x(kCount, 1.0f), y(kCount, 1.0f);
  const double seconds = BestSeconds([&] {
    cpu::ParallelBlocks(kCount, kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] += x[i];
    });
  });
  return 3.0 * kCount * sizeof(float) / seconds;
}

}  // namespace

Roof MeasureRoof() {
  return {.bf16_flops = CpuHasBf16() ? ProductFlops<BF16>() : 0, .fp32_flops = ProductFlops<float>(), .bytes = MemoryBytes()};
}

}  // namespace polymoe
