#include "worker/model/model.h"

#include <algorithm>
#include <type_traits>

#include "common/check.h"
#include "worker/model/activations.h"
#include "worker/model/arena.h"
#include "worker/model/blocks.h"
#include "worker/model/exchange.h"
#include "worker/model/observer.h"

namespace polymoe {

// A micro-batch, as the caller gives it.
struct MicroBatch {
  const float* parameters;
  const int32_t *tokens, *targets;
  int sequences;
  float* token_losses;      // may be null
  const StageDone& done;    // may be empty
  LayerObserver* observer;  // may be null; without gradients alone
};

// The decoder of either element type.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // Without `gradients`, the loss alone.
  virtual MicroBatchLosses Run(const MicroBatch& batch, float scale, float* gradients, bool accumulate) = 0;
  virtual BF16* rounded() = 0;
  virtual void Round(const float* parameters) = 0;
  virtual const RouterStats& router_stats() const = 0;
  virtual int64_t memory_bytes() const = 0;
};

namespace {

template <class Element>
class DecoderOf final : public Decoder {
 public:
  // References are kept.
  DecoderOf(const ModelConfig& config, const ParameterTable& table, const Ops<Element>& ops, const ModelLimits& limits,
            ExpertExchange* exchange)
      : config_(config),
        table_(table),
        ops_(ops),
        limits_(limits),
        exchange_(exchange),
        extent_(ExtentOf(config, limits, exchange)),
        layers_(config.layers),
        activations_([this](Arena::Cutter& cut) { Place(cut); }),
        copy_([this](Arena::Cutter& cut) { cut(rounded_, kRounds ? table_.total() : 0); }) {
    RopeTable(limits.sequence_length, config.head_dim(), config.rope_theta, scratch_.rope);
    if (!config.moe) return;
    for (LayerActivations<Element>& a : layers_) {
      for (ExpertRows<Element>& chunk : a.chunks) {
        if (chunk.ones != nullptr) std::fill_n(chunk.ones, extent_.ranks, 1);
      }
    }
    stats_.counts.resize(static_cast<size_t>(config.layers) * config.experts);
    stats_.entropy.resize(config.layers);
  }

  MicroBatchLosses Run(const MicroBatch& batch, float scale, float* g, bool accumulate) override {
    POLYMOE_CHECK(batch.sequences >= 0 && batch.sequences <= limits_.max_sequences, "%d sequences in a model made for %d",
                  batch.sequences, limits_.max_sequences);
    const AttentionShape shape{batch.sequences, limits_.sequence_length, config_.heads, config_.head_dim()};
    const BlockContext<Element> context{.config = config_,
                                        .ops = ops_,
                                        .parameters = batch.parameters,
                                        .weights = Weights(batch.parameters),
                                        .rope = scratch_.rope,
                                        .shape = shape,
                                        .extent = extent_,
                                        .shard = table_.shard(),
                                        .exchange = exchange_,
                                        .balance_tokens = BalanceSequences(config_, limits_) * limits_.sequence_length,
                                        .all_rows = {0, shape.tokens()},
                                        .accumulate = accumulate};
    if (g != nullptr && !accumulate) ClearSums(g);
    MicroBatchLosses losses = Forward(context, batch);
    losses.cross_entropy = Head(context, batch.targets, scale, g);
    if (batch.token_losses != nullptr) std::copy_n(scratch_.losses, shape.tokens(), batch.token_losses);
    if (g != nullptr) Backward(context, batch, scale, g);
    return losses;
  }

  BF16* rounded() override { return rounded_; }
  void Round(const float* parameters) override {
    if (kRounds) ops_.round(table_.total(), parameters, rounded_);
  }
  const RouterStats& router_stats() const override { return stats_; }
  int64_t memory_bytes() const override { return activations_.bytes(); }

 private:
  static constexpr bool kRounds = std::is_same_v<Element, BF16>;

  static int BalanceSequences(const ModelConfig& config, const ModelLimits& limits) {
    return config.load_balance_sequences > 0 ? config.load_balance_sequences : limits.max_sequences;
  }

  static Extent ExtentOf(const ModelConfig& config, const ModelLimits& limits, const ExpertExchange* exchange) {
    const int ranks = exchange == nullptr ? 1 : exchange->ranks(), sequences = BalanceSequences(config, limits);
    return {.tokens = int64_t{limits.max_sequences} * limits.sequence_length,
            .length = limits.sequence_length,
            .groups = (limits.max_sequences + sequences - 1) / sequences,
            .ranks = ranks,
            .experts = config.experts / ranks,
            .chunks = exchange == nullptr ? 1 : limits.chunks};
  }

  void Place(Arena::Cutter& cut) {
    scratch_.Place(config_, extent_, cut);
    for (LayerActivations<Element>& a : layers_) {
      // One set for all layers, beside x, is enough where each layer makes it again.
      if (limits_.recompute && &a != &layers_[0]) {
        a = layers_[0];
      } else {
        a.Place(config_, extent_, cut);
      }
      cut(a.x, extent_.tokens * config_.hidden);
    }
  }

  const Element* Weights(const float* parameters) const {
    if constexpr (kRounds) {
      return rounded_;
    } else {
      return parameters;
    }
  }

  // The gradients that operations can only add to.
  void ClearSums(float* g) const {
    for (const Section& section : table_.sections()) {
      if (!section.product) std::fill_n(g + section.begin, section.size(), 0.0f);
    }
  }

  // Up to the output of the last layer, in scratch_.last. Gives the router's losses.
  MicroBatchLosses Forward(const BlockContext<Element>& c, const MicroBatch& batch) {
    MicroBatchLosses losses;
    stats_.rows_away = 0;
    ops_.embedding_forward(c.tokens(), config_.hidden, batch.tokens, c.parameters + table_.embedding(), layers_[0].x);
    for (int i = 0; i < config_.layers; ++i) {
      AttentionForward(c, table_.layer(i), layers_[i]);
      float* next = i + 1 < config_.layers ? layers_[i + 1].x : scratch_.last;
      FfnForward(c, table_.layer(i), layers_[i], scratch_, next);
      if (batch.observer != nullptr) Show(c, i, next, *batch.observer);
      if (config_.moe && c.tokens() > 0) AddRouter(c, i, losses);
      stats_.rows_away += RowsAway(layers_[i]);
    }
    return losses;
  }

  void Show(const BlockContext<Element>& c, int i, const float* next, LayerObserver& observer) {
    for (ExpertRows<Element>& chunk : layers_[i].chunks) {
      UnweightedActivation(c, table_.layer(i), chunk);
      observer.Activation(i, chunk.groups(extent_).rows(), chunk.act);
    }
    observer.Hidden(i, c.tokens(), next);
  }

  int64_t RowsAway(const LayerActivations<Element>& a) const {
    int64_t rows = 0;
    for (int rank = 0; exchange_ != nullptr && rank < exchange_->ranks(); ++rank) {
      for (const ExpertRows<Element>& chunk : a.chunks) rows += rank == exchange_->rank() ? 0 : chunk.send_counts[rank];
    }
    return rows;
  }

  // Layer i's share of the losses, and its statistics, from the sums that its router has just made.
  void AddRouter(const BlockContext<Element>& c, int i, MicroBatchLosses& losses) {
    const int e = config_.experts;
    const double tokens = c.tokens(), layers = config_.layers;
    const int groups = (c.tokens() + c.balance_tokens - 1) / c.balance_tokens;
    int32_t* stats = stats_.counts.data() + int64_t{i} * e;
    std::fill_n(stats, e, 0);
    double z = 0, entropy = 0;
    for (int group = 0; group < groups; ++group) {
      const int32_t* counts = layers_[i].counts + int64_t{group} * e;
      const double* sums = scratch_.router_sums.data() + int64_t{group} * (e + 2);
      const double n = std::min(c.balance_tokens, c.tokens() - group * c.balance_tokens);
      double balance = 0;
      for (int j = 0; j < e; ++j) {
        balance += counts[j] * sums[j];
        stats[j] += counts[j];
      }
      losses.load_balance += balance / n * e / (n * config_.top_k) / layers / groups;
      z += sums[e];
      entropy += sums[e + 1];
    }
    losses.z += z / tokens / layers;
    stats_.entropy[i] = static_cast<float>(entropy / tokens);
  }

  // Final norm, LM head and cross entropy in chunks of rows. With gradients: those of head and norm, and scratch_.dx of the last
  // layer's output.
  double Head(const BlockContext<Element>& c, const int32_t* targets, float scale, float* g) {
    const int n = c.tokens(), d = config_.hidden, v = config_.vocab;
    const float* norm = c.parameters + table_.final_norm();
    const Element* w = c.weights + table_.lm_head();
    Scratch<Element>& s = scratch_;
    ops_.rmsnorm_forward(n, d, config_.norm_epsilon, s.last, norm, s.hidden, s.rstd);
    for (int begin = 0; begin < n; begin += Scratch<Element>::kLogitRows) {
      const int32_t chunk[2] = {0, std::min(Scratch<Element>::kLogitRows, n - begin)};
      const RowGroups rows{1, chunk};
      const Element* hidden = s.hidden + int64_t{begin} * d;
      ops_.linear_fp32(rows, v, d, hidden, w, nullptr, s.logits);
      ops_.cross_entropy(rows.rows(), v, s.logits, targets + begin, scale, s.losses + begin, g == nullptr ? nullptr : s.dlogits);
      if (g == nullptr) continue;
      ops_.linear_backward_weight(rows, v, d, s.dlogits, nullptr, hidden, nullptr, c.accumulate || begin > 0, g + table_.lm_head());
      ops_.linear_backward_input_fp32(rows, v, d, s.dlogits, w, /*accumulate=*/false, s.dh + int64_t{begin} * d);
    }
    if (g != nullptr) {
      ops_.rmsnorm_backward(n, d, s.last, norm, s.rstd, s.dh, s.dx, /*accumulate=*/false, s.rounded_dx, g + table_.final_norm());
    }
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += s.losses[i];
    return sum;
  }

  void Backward(const BlockContext<Element>& c, const MicroBatch& batch, float scale, float* g) {
    const auto done = [&](int stage) {
      if (batch.done) batch.done(stage);
    };
    done(0);  // Head has made its gradients
    for (int i = config_.layers - 1; i >= 0; --i) {
      const LayerOffsets& at = table_.layer(i);
      // What the last layer has left is still there.
      if (limits_.recompute && i + 1 < config_.layers) {
        AttentionForward(c, at, layers_[i]);
        FfnForward(c, at, layers_[i], scratch_, nullptr);
      }
      FfnBackward(c, at, layers_[i], scratch_, scale, g);
      AttentionBackward(c, at, layers_[i], scratch_, g);
      done(config_.layers - i);
    }
    ops_.embedding_backward(c.tokens(), config_.hidden, batch.tokens, scratch_.dx, g + table_.embedding());
    done(config_.layers + 1);
  }

  const ModelConfig& config_;
  const ParameterTable& table_;
  const Ops<Element>& ops_;
  const ModelLimits limits_;
  ExpertExchange* const exchange_;
  const Extent extent_;
  std::vector<LayerActivations<Element>> layers_;
  Scratch<Element> scratch_;
  BF16* rounded_ = nullptr;
  const Arena activations_, copy_;  // of layers_ and scratch_; of rounded_
  RouterStats stats_;
};

ExpertShard ShardOf(const ModelConfig& config, const ExpertExchange* exchange) {
  if (exchange == nullptr) return {0, config.experts};
  POLYMOE_CHECK(config.moe && config.experts % exchange->ranks() == 0, "%d ranks cannot share %d experts", exchange->ranks(),
                config.experts);
  return ShardExperts(config, exchange->rank(), exchange->ranks());
}

}  // namespace

Model::Model(const ModelConfig& config, const Ops<float>& ops, const ModelLimits& limits, ExpertExchange* exchange)
    : config_(config),
      table_(config_, ShardOf(config, exchange)),
      decoder_(std::make_unique<DecoderOf<float>>(config_, table_, ops, limits, exchange)) {}
Model::Model(const ModelConfig& config, const Ops<BF16>& ops, const ModelLimits& limits, ExpertExchange* exchange)
    : config_(config),
      table_(config_, ShardOf(config, exchange)),
      decoder_(std::make_unique<DecoderOf<BF16>>(config_, table_, ops, limits, exchange)) {}
Model::~Model() = default;

MicroBatchLosses Model::ForwardBackward(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                                        float scale, float* gradients, bool accumulate, const StageDone& done) {
  return decoder_->Run({parameters, tokens, targets, sequences, nullptr, done, nullptr}, scale, gradients, accumulate);
}

MicroBatchLosses Model::Evaluate(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                                 float* token_losses, LayerObserver* observer) {
  return decoder_->Run({parameters, tokens, targets, sequences, token_losses, nullptr, observer}, 0, nullptr, false);
}

BF16* Model::rounded() {
  return decoder_->rounded();
}

void Model::Round(const float* parameters) {
  decoder_->Round(parameters);
}

const RouterStats& Model::router_stats() const {
  return decoder_->router_stats();
}

int64_t Model::memory_bytes() const {
  return decoder_->memory_bytes();
}

}  // namespace polymoe
