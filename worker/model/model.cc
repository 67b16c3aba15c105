#include "worker/model/model.h"

#include <algorithm>
#include <type_traits>

#include "common/check.h"
#include "worker/model/activations.h"
#include "worker/model/arena.h"
#include "worker/model/blocks.h"

namespace polymoe {

// A micro-batch, as the caller gives it.
struct MicroBatch {
  const float* parameters;
  const int32_t *tokens, *targets;
  int sequences;
  float* token_losses;  // may be null
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
  DecoderOf(const ModelConfig& config, const ParameterTable& table, const Ops<Element>& ops, const ModelLimits& limits)
      : config_(config),
        table_(table),
        ops_(ops),
        limits_(limits),
        layers_(config.layers),
        activations_([this](Arena::Cutter& cut) { Place(cut); }),
        copy_([this](Arena::Cutter& cut) { cut(rounded_, kRounds ? table_.total() : 0); }) {
    RopeTable(limits.sequence_length, config.head_dim(), config.rope_theta, scratch_.rope);
    if (!config.moe) return;
    stats_.counts.resize(static_cast<size_t>(config.layers) * config.experts);
    stats_.entropy.resize(config.layers);
  }

  MicroBatchLosses Run(const MicroBatch& batch, float scale, float* g, bool accumulate) override {
    POLYMOE_CHECK(batch.sequences >= 1 && batch.sequences <= limits_.max_sequences, "%d sequences in a model made for %d",
                  batch.sequences, limits_.max_sequences);
    const AttentionShape shape{batch.sequences, limits_.sequence_length, config_.heads, config_.head_dim()};
    const BlockContext<Element> context{config_,       ops_,  batch.parameters,    Weights(batch.parameters),
                                        scratch_.rope, shape, {0, shape.tokens()}, accumulate};
    if (g != nullptr && !accumulate) ClearSums(g);
    MicroBatchLosses losses = Forward(context, batch.tokens);
    losses.cross_entropy = Head(context, batch.targets, scale, g);
    if (batch.token_losses != nullptr) std::copy_n(scratch_.losses, shape.tokens(), batch.token_losses);
    if (g != nullptr) Backward(context, batch.tokens, scale, g);
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

  void Place(Arena::Cutter& cut) {
    const int64_t n = int64_t{limits_.max_sequences} * limits_.sequence_length;
    scratch_.Place(config_, n, limits_.sequence_length, cut);
    for (LayerActivations<Element>& a : layers_) {
      // One set for all layers, beside x, is enough where each layer makes it again.
      if (limits_.recompute && &a != &layers_[0]) {
        a = layers_[0];
      } else {
        a.Place(config_, n, cut);
      }
      cut(a.x, n * config_.hidden);
    }
  }

  const Element* Weights(const float* parameters) const {
    if constexpr (kRounds) {
      return rounded_;
    } else {
      return parameters;
    }
  }

  // The gradients that operations can only add to: of all parameters that are not weights of products.
  void ClearSums(float* g) const {
    std::fill_n(g + table_.embedding(), int64_t{config_.vocab} * config_.hidden, 0.0f);
    for (const Parameter& p : table_.parameters()) {
      if (p.init != Init::kNormal) std::fill_n(g + p.offset, p.size, 0.0f);
    }
  }

  // Up to the output of the last layer, in scratch_.last. Gives the router's losses.
  MicroBatchLosses Forward(const BlockContext<Element>& c, const int32_t* tokens) {
    MicroBatchLosses losses;
    ops_.embedding_forward(c.tokens(), config_.hidden, tokens, c.parameters + table_.embedding(), layers_[0].x);
    for (int i = 0; i < config_.layers; ++i) {
      AttentionForward(c, table_.layer(i), layers_[i]);
      FfnForward(c, table_.layer(i), layers_[i], scratch_, i + 1 < config_.layers ? layers_[i + 1].x : scratch_.last);
      if (config_.moe) AddRouter(c.tokens(), i, losses);
    }
    return losses;
  }

  // Layer i's share of the losses, and its statistics, from the sums that its router has just made.
  void AddRouter(int n, int i, MicroBatchLosses& losses) {
    const int e = config_.experts;
    const int32_t* counts = layers_[i].counts;
    double balance = 0;
    for (int j = 0; j < e; ++j) balance += counts[j] * scratch_.router_sums[j];
    const double tokens = n, layers = config_.layers;
    losses.load_balance += balance / tokens * e / (tokens * config_.top_k) / layers;
    losses.z += scratch_.router_sums[e] / tokens / layers;
    std::copy_n(counts, e, stats_.counts.begin() + int64_t{i} * e);
    stats_.entropy[i] = static_cast<float>(scratch_.router_sums[e + 1] / tokens);
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

  void Backward(const BlockContext<Element>& c, const int32_t* tokens, float scale, float* g) {
    for (int i = config_.layers - 1; i >= 0; --i) {
      const LayerOffsets& at = table_.layer(i);
      // What the last layer has left is still there.
      if (limits_.recompute && i + 1 < config_.layers) {
        AttentionForward(c, at, layers_[i]);
        FfnForward(c, at, layers_[i], scratch_, nullptr);
      }
      FfnBackward(c, at, layers_[i], scratch_, scale, g);
      AttentionBackward(c, at, layers_[i], scratch_, g);
    }
    ops_.embedding_backward(c.tokens(), config_.hidden, tokens, scratch_.dx, g + table_.embedding());
  }

  const ModelConfig& config_;
  const ParameterTable& table_;
  const Ops<Element>& ops_;
  const ModelLimits limits_;
  std::vector<LayerActivations<Element>> layers_;
  Scratch<Element> scratch_;
  BF16* rounded_ = nullptr;
  const Arena activations_, copy_;  // of layers_ and scratch_; of rounded_
  RouterStats stats_;
};

}  // namespace

Model::Model(const ModelConfig& config, const Ops<float>& ops, const ModelLimits& limits)
    : config_(config), table_(config_), decoder_(std::make_unique<DecoderOf<float>>(config_, table_, ops, limits)) {}
Model::Model(const ModelConfig& config, const Ops<BF16>& ops, const ModelLimits& limits)
    : config_(config), table_(config_), decoder_(std::make_unique<DecoderOf<BF16>>(config_, table_, ops, limits)) {}
Model::~Model() = default;

MicroBatchLosses Model::ForwardBackward(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                                        float scale, float* gradients, bool accumulate) {
  return decoder_->Run({parameters, tokens, targets, sequences, nullptr}, scale, gradients, accumulate);
}

MicroBatchLosses Model::Evaluate(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                                 float* token_losses) {
  return decoder_->Run({parameters, tokens, targets, sequences, token_losses}, 0, nullptr, false);
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
