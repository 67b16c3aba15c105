// Effective ranks that are known beforehand, and numpy's.
#include "worker/train/effective_rank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace polymoe {
namespace {

TEST(EffectiveRank, OfTheIdentityIsItsSize) {
  for (const int n : {1, 2, 31, 200}) {
    std::vector<float> m(n * n);
    for (int i = 0; i < n; ++i) m[i * n + i] = -3;
    EXPECT_NEAR(EffectiveRank(m.data(), n, n), n, 1e-9 * n);
  }
}

TEST(EffectiveRank, OfAnOuterProductIs1) {
  for (const auto& [rows, cols] : {std::pair(40, 300), std::pair(300, 40), std::pair(1, 9), std::pair(9, 1)}) {
    std::vector<float> m(rows * cols);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < cols; ++j) m[i * cols + j] = static_cast<float>((i % 7 - 3.5) * (j % 5 + 0.5));
    }
    EXPECT_NEAR(EffectiveRank(m.data(), rows, cols), 1, 1e-9) << rows << " x " << cols;
  }
}

TEST(EffectiveRank, OfADiagonalIsThePerplexityOfItsShares) {
  // Shares 1/2, 1/4, 1/8, 1/8: an entropy of 1.75 bits. Rows and columns of zeros and a permutation change nothing.
  std::vector<float> m(6 * 5);
  m[0 * 5 + 3] = 4, m[2 * 5 + 0] = -2, m[3 * 5 + 1] = 1, m[5 * 5 + 2] = 1;
  EXPECT_NEAR(EffectiveRank(m.data(), 6, 5), std::exp2(1.75), 1e-12);
  std::vector<BF16> rounded(m.size());
  std::transform(m.begin(), m.end(), rounded.begin(), [](float x) { return BF16(x); });
  EXPECT_NEAR(EffectiveRank(rounded.data(), 6, 5), std::exp2(1.75), 1e-12);
}

TEST(EffectiveRank, OfNothingIs0AndOfWhatIsNotFiniteNotANumber) {
  std::vector<float> m(12);
  EXPECT_EQ(EffectiveRank(m.data(), 3, 4), 0);
  m[7] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isnan(EffectiveRank(m.data(), 3, 4)));
}

// The matrices of make_rank_golden.py.
std::vector<float> Hashed(int rows, int cols, bool decays) {
  std::vector<float> m(rows * cols);
  for (uint32_t k = 0; k < m.size(); ++k) {
    uint32_t h = k * 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    m[k] = std::ldexp(static_cast<float>(h >> 8) / 0x1p24f - 0.5f, decays ? -static_cast<int>(k % cols / 4) : 0);
  }
  return m;
}

TEST(EffectiveRank, IsNumpysWithAFullDecomposition) {
  const struct {
    int rows, cols;
    bool decays;
    double want;
  } cases[] = {{1, 7, false, 1},
               {48, 80, false, 43.6729122208},
               {80, 48, false, 43.187271149},
               {300, 129, false, 120.857437259},
               {64, 96, true, 14.9546800909},
               {200, 200, true, 15.6631010851},
               {512, 1024, false, 473.566073112}};
  for (const auto& c : cases) {
    const double got = EffectiveRank(Hashed(c.rows, c.cols, c.decays).data(), c.rows, c.cols);
    EXPECT_NEAR(got, c.want, (c.decays ? 5e-6 : 1e-10) * c.want) << c.rows << " x " << c.cols << " error " << got / c.want - 1;
  }
}

}  // namespace
}  // namespace polymoe
