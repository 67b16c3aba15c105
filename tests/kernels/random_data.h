// Reproducible test data.
#ifndef POLYMOE_TESTS_KERNELS_RANDOM_DATA_H_
#define POLYMOE_TESTS_KERNELS_RANDOM_DATA_H_

#include <cstdint>
#include <random>
#include <vector>

namespace polymoe {

// Standard normal numbers times `scale`.
template <typename T>
std::vector<T> RandomVector(int64_t n, uint32_t seed, double scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<T> values(n);
  for (T& v : values) v = static_cast<T>(scale * normal(generator));
  return values;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_KERNELS_RANDOM_DATA_H_
