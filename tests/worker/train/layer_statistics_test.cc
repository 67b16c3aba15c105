// Cosines and moments of numbers that one can add up by hand.
#include "worker/train/layer_statistics.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <vector>

#include "worker/parallel/single_group.h"

namespace polymoe {
namespace {

constexpr LayerStatistics::What kAll{.cosine = true, .moments = true};

TEST(LayerStatistics, CosinesAreMeansOverTheTokensOfAllPasses) {
  const ModelConfig config{.layers = 3, .hidden = 2, .ffn = 2};
  SingleGroup world;
  LayerStatistics statistics(config, kAll, world);
  const std::vector<float> a = {1, 0, 2, 0}, b = {0, 5, 3, 3}, c = {-4, 0, 0, 0};
  statistics.Hidden(0, 2, a.data());
  statistics.Hidden(1, 2, b.data());
  statistics.Hidden(2, 2, c.data());
  const float d = 1e-30f, e[] = {d, d}, f[] = {-d, -d}, g[] = {d, -d};  // the size does not matter
  statistics.Hidden(0, 1, e);
  statistics.Hidden(1, 1, f);
  statistics.Hidden(2, 1, g);
  for (int layer = 0; layer < 3; ++layer) statistics.Hidden(layer, 0, nullptr);  // a rank without a window
  ASSERT_TRUE(statistics.Reduce().ok());
  EXPECT_NEAR(statistics.Cosine(0, 1), (0 + std::sqrt(0.5) - 1) / 3, 1e-7);
  EXPECT_NEAR(statistics.Cosine(0, 2), (-1 + 0 + 0) / 3.0, 1e-7) << "zeros are like nothing";
  EXPECT_NEAR(statistics.Cosine(1, 2), 0, 1e-7);
}

TEST(LayerStatistics, MomentsAreThoseOfAllValuesOfALayer) {
  const ModelConfig config{.layers = 2, .hidden = 2, .ffn = 3};
  SingleGroup world;
  LayerStatistics statistics(config, kAll, world);
  const std::vector<float> first = {1, 0, -3, 2, 0, 0}, second = {4, -0.0f, 1};
  statistics.Activation(0, 2, first.data());
  statistics.Activation(0, 1, second.data());
  const BF16 other[] = {BF16(-7.0f), BF16(-7.0f), BF16(-7.0f)};
  statistics.Activation(1, 1, other);
  ASSERT_TRUE(statistics.Reduce().ok());
  const ActivationMoments m = statistics.Moments(0);
  EXPECT_NEAR(m.mean, 5 / 9.0, 1e-15);
  EXPECT_NEAR(m.std, std::sqrt(31 / 9.0 - 25 / 81.0), 1e-15);
  EXPECT_EQ(m.abs_max, 4);
  EXPECT_NEAR(m.zero_share, 4 / 9.0, 1e-15);
  EXPECT_EQ(statistics.Moments(1).abs_max, 7);
  EXPECT_EQ(statistics.Moments(1).mean, -7);
  EXPECT_EQ(statistics.Moments(1).std, 0);
}

TEST(LayerStatistics, AnyNumberOfThreadsGivesTheSameBits) {
  const ModelConfig config{.layers = 2, .hidden = 7, .ffn = 7};
  std::vector<float> values(7 * 333);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(std::sin(static_cast<double>(i * i)));
  const auto run = [&](int threads) {
    omp_set_num_threads(threads);
    SingleGroup world;
    LayerStatistics statistics(config, kAll, world);
    statistics.Activation(0, 333, values.data());
    statistics.Hidden(0, 332, values.data());
    statistics.Hidden(1, 332, values.data() + 7);
    const ActivationMoments m = statistics.Moments(0);
    return std::vector<double>{statistics.Cosine(0, 1), m.mean, m.std};
  };
  const int threads = omp_get_max_threads();
  const std::vector<double> one = run(1);
  for (const int n : {2, 3, 13}) EXPECT_EQ(run(n), one) << n;
  omp_set_num_threads(threads);
}

}  // namespace
}  // namespace polymoe
