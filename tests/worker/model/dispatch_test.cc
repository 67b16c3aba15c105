// A model whose experts are shared by several ranks is the model that one rank has: same losses, same gradients, same routing. The ranks
// are threads.
//
// Tolerance: each gradient is a sum of the same fp32 terms in another order; with some hundred terms of changing sign the relative
// distance of two orders is a few 1e-7 (sqrt(terms) * 2^-24 times the cancellation), and 2e-6 leaves room.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/worker/model/tiny_model.h"
#include "worker/parallel/layout.h"
#include "worker/parallel/thread_transport.h"
#include "worker/train/group_exchange.h"

namespace polymoe {
namespace {

constexpr int kLength = 11, kParts = 4;  // sequences of the whole batch; each rank takes kParts / ranks
constexpr double kClose = 2e-6;

ModelConfig Config(ActivationKind kind) {
  ModelConfig config = TinyConfig(kind, /*moe=*/true);
  config.experts = 8;
  config.top_k = 3;
  config.load_balance_loss = 0.1f;
  config.z_loss = 0.05f;
  config.load_balance_sequences = 1;
  return config;
}

// The whole batch: losses and router counts summed over ranks, gradients of every tensor by name.
struct Whole {
  MicroBatchLosses losses;
  std::vector<int64_t> counts;
  std::map<std::string, std::vector<float>> gradients;
};

// f(exchange, transport) on a thread for each rank; all share the experts.
void OnRanks(int ranks, const std::function<void(ExpertExchange&, Transport&)>& f) {
  std::vector<std::unique_ptr<Transport>> transports = ConnectThreads(ranks);
  std::vector<std::thread> threads;
  for (std::unique_ptr<Transport>& transport : transports) {
    threads.emplace_back([&f, ranks, transport = std::move(transport)]() mutable {
      const Ranks groups = MakeRanks(std::move(transport), ranks, absl::Minutes(1));
      GroupExchange exchange(*groups.experts, Clock::Real());
      f(exchange, *groups.transport);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void AddTo(std::vector<float>& sum, const float* values, int64_t size) {
  sum.resize(size);
  for (int64_t i = 0; i < size; ++i) sum[i] += values[i];
}

// Each rank runs its part of the batch in micro-batches of `micro` sequences.
template <class E>
Whole Train(const ModelConfig& config, const Ops<E>& ops, int ranks, int micro, int chunks, bool recompute,
            const std::function<void(const ParameterTable&, float*)>& change = nullptr) {
  const TinyBatch batch = MakeBatch(kParts * kLength, config.vocab);
  const int share = kParts / ranks;
  Whole whole{.counts = std::vector<int64_t>(config.layers * config.experts)};
  std::mutex mutex;
  const auto run = [&](ExpertExchange* exchange) {
    Model model(config, ops, {.max_sequences = micro, .sequence_length = kLength, .recompute = recompute, .chunks = chunks},
                exchange);
    const ParameterTable& table = model.table();
    std::vector<float> parameters(table.total()), gradients(table.total());
    table.Initialize(1, config, parameters.data());
    if (change) change(table, parameters.data());
    model.Round(parameters.data());
    const int rank = exchange == nullptr ? 0 : exchange->rank();
    for (int i = 0; i < share / micro; ++i) {
      const int64_t at = int64_t{rank * share + i * micro} * kLength;
      const MicroBatchLosses losses = model.ForwardBackward(parameters.data(), batch.tokens.data() + at, batch.targets.data() + at,
                                                            micro, 1.0f / (kParts * kLength), gradients.data(), i > 0);
      const std::lock_guard lock(mutex);
      whole.losses.cross_entropy += losses.cross_entropy;
      whole.losses.load_balance += losses.load_balance * micro / kParts;
      whole.losses.z += losses.z * micro / kParts;
      for (size_t j = 0; j < whole.counts.size(); ++j) whole.counts[j] += model.router_stats().counts[j];
    }
    const std::lock_guard lock(mutex);
    for (const Parameter& p : table.parameters()) AddTo(whole.gradients[p.name], gradients.data() + p.offset, p.size);
  };
  if (ranks == 1) {
    run(nullptr);
  } else {
    OnRanks(ranks, [&](ExpertExchange& exchange, Transport&) { run(&exchange); });
  }
  return whole;
}

void ExpectSame(const Whole& got, const Whole& want, double close) {
  EXPECT_NEAR(got.losses.cross_entropy, want.losses.cross_entropy, close * want.losses.cross_entropy);
  EXPECT_NEAR(got.losses.load_balance, want.losses.load_balance, close * want.losses.load_balance);
  EXPECT_NEAR(got.losses.z, want.losses.z, close * want.losses.z);
  ASSERT_EQ(got.gradients.size(), want.gradients.size());
  for (const auto& [name, gradient] : want.gradients) {
    EXPECT_LE(Distance(got.gradients.at(name), gradient), close * Norm(gradient) + 1e-9) << name;
  }
}

struct Layout {
  int ranks, micro, chunks;
  bool recompute;
};

void PrintTo(const Layout& l, std::ostream* os) {
  *os << l.ranks << " ranks, micro-batches of " << l.micro << ", " << l.chunks << " chunks" << (l.recompute ? ", recompute" : "");
}

class SharedExperts : public ::testing::TestWithParam<Layout> {};

TEST_P(SharedExperts, GiveTheLossesAndGradientsOfOneRank) {
  const Layout& layout = GetParam();
  for (const ActivationKind kind : {ActivationKind::kPolyNorm, ActivationKind::kSwiglu}) {
    ModelConfig config = Config(kind);
    config.coefficients_per_expert = layout.micro == 1;
    SCOPED_TRACE(absl::StrCat("kind ", static_cast<int>(kind)));
    const Whole alone = Train(config, CpuOps<float>(), 1, kParts, 1, false);
    const Whole shared = Train(config, CpuOps<float>(), layout.ranks, layout.micro, layout.chunks, layout.recompute);
    EXPECT_EQ(shared.counts, alone.counts);
    ExpectSame(shared, alone, kClose);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, SharedExperts,
                         ::testing::Values(Layout{1, 1, 1, false}, Layout{1, 2, 1, true}, Layout{2, 2, 1, false},
                                           Layout{2, 1, 2, false}, Layout{2, 2, 3, true}, Layout{4, 1, 1, false},
                                           Layout{4, 1, 2, false}, Layout{4, 1, 4, true}));

// A router of zeros sends every token to the lowest experts: one rank gets all, the others none.
TEST(Dispatch, EverythingToOneRankAndNothingToTheOthers) {
  const ModelConfig config = Config(ActivationKind::kPolyNorm);
  const auto zero_router = [&](const ParameterTable& table, float* parameters) {
    for (int i = 0; i < config.layers; ++i) std::fill_n(parameters + table.layer(i).router, config.experts * config.hidden, 0.0f);
  };
  const Whole alone = Train(config, CpuOps<float>(), 1, kParts, 1, false, zero_router);
  EXPECT_EQ(alone.counts[0], kParts * kLength);
  EXPECT_EQ(alone.counts[config.top_k], 0);
  const Whole shared = Train(config, CpuOps<float>(), 2, 2, 2, false, zero_router);
  EXPECT_EQ(shared.counts, alone.counts);
  ExpectSame(shared, alone, kClose);
}

TEST(Dispatch, TheSameLayoutGivesTheSameBits) {
  const ModelConfig config = Config(ActivationKind::kPolyReluNorm);
  EXPECT_EQ(Train(config, CpuOps<float>(), 1, 2, 1, false).gradients, Train(config, CpuOps<float>(), 1, 2, 1, true).gradients);
  // Two ranks: the sum over ranks is made in either order, which for two is the same.
  EXPECT_EQ(Train(config, CpuOps<float>(), 2, 1, 2, false).gradients, Train(config, CpuOps<float>(), 2, 1, 2, true).gradients);
}

// bf16 rounds the sums that travel once more than a rank alone does: 2^-9 of each, beside all other roundings.
TEST(Dispatch, InBf16StaysAsCloseAsRoundingAllows) {
  if (!CpuHasBf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  const ModelConfig config = Config(ActivationKind::kPolyNorm);
  const Whole alone = Train(config, CpuOps<BF16>(), 1, kParts, 1, false);
  const Whole exact = Train(config, CpuOps<float>(), 1, kParts, 1, false);
  const Whole shared = Train(config, CpuOps<BF16>(), 2, 1, 2, false);
  EXPECT_NEAR(shared.losses.cross_entropy, exact.losses.cross_entropy, 2e-2 * exact.losses.cross_entropy);
  for (const auto& [name, gradient] : exact.gradients) {
    const double rounding = Distance(alone.gradients.at(name), gradient);
    EXPECT_LE(Distance(shared.gradients.at(name), gradient), 2 * rounding + 1e-3 * Norm(gradient)) << name;
  }
}

TEST(Dispatch, AFailedExchangeEndsThePassWithoutHarm) {
  const ModelConfig config = Config(ActivationKind::kPolyNorm);
  const TinyBatch batch = MakeBatch(kLength, config.vocab);
  OnRanks(2, [&](ExpertExchange& exchange, Transport& transport) {
    transport.Close(absl::CancelledError("broken by the test"));
    Model model(config, CpuOps<float>(), {.max_sequences = 1, .sequence_length = kLength}, &exchange);
    std::vector<float> parameters(model.table().total()), gradients(parameters.size());
    model.table().Initialize(1, config, parameters.data());
    for (int i = 0; i < 3; ++i) {
      model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), 1, 1, gradients.data(), false);
    }
  });
}

TEST(Dispatch, ARankWithoutSequencesStillComputesForTheOthers) {
  const ModelConfig config = Config(ActivationKind::kSwiglu);
  const TinyBatch batch = MakeBatch(kLength, config.vocab);
  const std::vector<float> all = Initial(config);
  Model alone(config, CpuOps<float>(), {.max_sequences = 1, .sequence_length = kLength});
  const double want = alone.Evaluate(all.data(), batch.tokens.data(), batch.targets.data(), 1).cross_entropy;
  double got[2];
  OnRanks(2, [&](ExpertExchange& exchange, Transport&) {
    Model model(config, CpuOps<float>(), {.max_sequences = 1, .sequence_length = kLength}, &exchange);
    std::vector<float> parameters(model.table().total());
    model.table().Initialize(1, config, parameters.data());
    got[exchange.rank()] =
        model.Evaluate(parameters.data(), batch.tokens.data(), batch.targets.data(), exchange.rank() == 0 ? 1 : 0).cross_entropy;
  });
  EXPECT_NEAR(got[0], want, kClose * want);
  EXPECT_EQ(got[1], 0);
}

TEST(Dispatch, StagesAreToldFromTheHeadToTheEmbeddingOnce) {
  const ModelConfig config = Config(ActivationKind::kRelu);
  const TinyBatch batch = MakeBatch(kLength, config.vocab);
  const std::vector<float> parameters = Initial(config);
  std::vector<float> gradients(parameters.size());
  Model model(config, CpuOps<float>(), {.max_sequences = 1, .sequence_length = kLength});
  const ParameterTable& table = model.table();
  std::vector<int> stages;
  std::vector<float> at_stage(parameters.size());
  model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), 1, 1, gradients.data(), false,
                        [&](int stage) {
                          stages.push_back(stage);
                          for (const Section& s : table.sections()) {
                            if (s.stage != stage) continue;
                            std::copy(gradients.begin() + s.begin, gradients.begin() + s.end, at_stage.begin() + s.begin);
                          }
                        });
  EXPECT_THAT(stages, ::testing::ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(stages.size(), static_cast<size_t>(table.stages()));
  EXPECT_EQ(at_stage, gradients) << "a gradient changed after its stage, or is of none";
}

}  // namespace
}  // namespace polymoe
