// The operations at the shapes of a model's step, for kernels_bench: each case owns its tensors and can run on any table.
#ifndef POLYMOE_BENCH_KERNEL_CASES_H_
#define POLYMOE_BENCH_KERNEL_CASES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace polymoe {

// Sizes as in kernels/ops.h; heads of 64. Rows of experts are N * K, shared out unevenly.
struct BenchShape {
  int sequences, length, hidden, ffn, experts, top_k, vocab;

  int tokens() const { return sequences * length; }
  int rows() const { return tokens() * top_k; }
};

template <class E>
struct KernelCase {
  std::string name;
  std::function<void(const Ops<E>&)> run;
  std::function<std::vector<float>()> result;  // of the latest run, for the comparison with the reference
};

template <class E>
std::vector<KernelCase<E>> KernelCases(const BenchShape& shape);

}  // namespace polymoe

#endif  // POLYMOE_BENCH_KERNEL_CASES_H_
