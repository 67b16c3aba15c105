// What the tests of the CPU tables share: both element types, the reference beside the CPU's, and comparisons.
#ifndef POLYMOE_TESTS_KERNELS_CPU_TEST_H_
#define POLYMOE_TESTS_KERNELS_CPU_TEST_H_

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/ops.h"
#include "tests/kernels/error_bounds.h"
#include "tests/kernels/random_data.h"

namespace polymoe {

using Floats = std::vector<float>;

inline constexpr int kWidths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 513, 1536};
inline constexpr int kRowCounts[] = {0, 1, 5, 67};

template <class E>
class CpuTable : public testing::Test {
 protected:
  void SetUp() override {
    if (std::is_same_v<E, BF16> && !CpuHasBf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  }

  // f(ops, t) on the reference (t = 0) and on the CPU's table (1); each run fills its own outputs.
  template <class F>
  void OnBoth(const F& f) const {
    f(RefOps<E>(), 0);
    f(CpuOps<E>(), 1);
  }
};

struct ElementName {
  template <class E>
  static std::string GetName(int) {
    return std::is_same_v<E, BF16> ? "Bf16" : "Fp32";
  }
};

using ElementTypes = testing::Types<float, BF16>;

// ---- Outputs with a border behind them, where nothing may be written.

inline constexpr int kBorder = 40;
inline constexpr float kUntouched = 42;

template <class T>
std::vector<T> Bordered(std::vector<T> values) {
  values.resize(values.size() + kBorder, T(kUntouched));
  return values;
}

// Room for n elements, each to be written.
template <class T>
std::vector<T> Room(int64_t n) {
  return Bordered(std::vector<T>(n, T(NAN)));
}

template <class T>
void ExpectBorder(const char* what, const std::vector<T>& values) {
  for (size_t i = values.size() - kBorder; i < values.size(); ++i) ASSERT_EQ(values[i], kUntouched) << "behind " << what;
}

// ---- Comparisons of bordered outputs. `terms` are added up for each; `magnitude` is that of terms which cancel (error_bounds.h).
// Where intermediate results are factors of products in bf16, `halves` half steps of the largest result are added for bf16.

template <class T>
void ExpectClose(const char* what, const std::vector<T>& got, const std::vector<T>& want, int terms, double magnitude = 0,
                 int halves = 0) {
  ASSERT_EQ(got.size(), want.size());
  ExpectBorder(what, got);
  const size_t size = want.size() - kBorder;
  double largest = magnitude;
  for (size_t i = 0; i < size; ++i) largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  constexpr bool kBf16 = std::is_same_v<T, BF16>;
  const double tolerance = Tolerance(largest, terms) + (kBf16 ? halves * largest / 256 : 0);
  // Both are rounded to bf16: values on two sides of a boundary come out one step apart, 2^-7 of the value, but few do.
  const double step = kBf16 ? 1.0 / 128 : 0;
  size_t apart = 0;
  for (size_t i = 0; i < size; ++i) {
    const double g = got[i], w = want[i];
    ASSERT_NEAR(g, w, tolerance + step * std::abs(w)) << what << "[" << i << "]";
    if (std::abs(g - w) > tolerance) ++apart;
  }
  EXPECT_LE(apart, 3 + size / 32) << what << ": not rounded to the nearest?";
}

template <class T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// The bytes of all tensors, one behind the other.
template <class... T>
std::string Bytes(const std::vector<T>&... tensors) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(tensors.data()), tensors.size() * sizeof(T)), ...);
  return bytes;
}

// f() returns bytes: the same at each call, and with any number of threads.
template <class F>
void ExpectSameBitsWithAnyThreads(const F& f) {
  const int before = omp_get_max_threads();
  std::string first;
  for (const int threads : {1, 2, 2, 3}) {
    omp_set_num_threads(threads);
    const std::string bytes = f();
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << "with " << threads << " threads";
  }
  omp_set_num_threads(before);
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_KERNELS_CPU_TEST_H_
