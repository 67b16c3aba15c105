#include <cmath>

#include "kernels/ops.h"

namespace polymoe {

void RopeTable(int t, int head_dim, float theta, float* rope) {
  const int half = head_dim / 2;
  float *cosines = rope, *sines = rope + int64_t{t} * half;
  for (int j = 0; j < half; ++j) {
    // Angles in double: at position 4096 a float angle would be off by 2e-4.
    const double frequency = std::pow(static_cast<double>(theta), -2.0 * j / head_dim);
    for (int64_t i = 0; i < t; ++i) {
      const double angle = static_cast<double>(i) * frequency;
      cosines[i * half + j] = static_cast<float>(std::cos(angle));
      sines[i * half + j] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace polymoe
