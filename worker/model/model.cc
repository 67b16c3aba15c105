#include "worker/model/model.h"

#include <algorithm>
#include <cmath>

#include "common/check.h"
#include "worker/model/activations.h"
#include "worker/model/blocks.h"

namespace polymoe {
namespace {

// Rows of logits that exist at one time: V is much larger than D, and all logits of a micro-batch would be the largest tensor.
constexpr int kLogitRows = 512;

}  // namespace

class Model::Impl {
 public:
  Impl(const ModelConfig& config, const Ops& ops, int max_sequences, int length)
      : config_(config),
        table_(config),
        ops_(ops),
        max_sequences_(max_sequences),
        length_(length),
        layers_(config.layers, LayerActivations(config, int64_t{max_sequences} * length)),
        scratch_(config, int64_t{max_sequences} * length) {
    const int64_t n = int64_t{max_sequences} * length;
    for (Floats* tensor : {&last_, &hidden_, &dx_, &dhidden_}) tensor->resize(n * config.hidden);
    for (Floats* tensor : {&rstd_, &losses_}) tensor->resize(n);
    logits_.resize(std::min<int64_t>(n, kLogitRows) * config.vocab);
  }

  MicroBatchLosses ForwardBackward(const float* p, const int32_t* tokens, const int32_t* targets, int sequences, float scale,
                                   float* g) {
    const BlockContext context = Context(sequences);
    Forward(context, p, tokens);
    const MicroBatchLosses losses = Head(context, p, targets, scale, g);
    Backward(context, p, tokens, scale, g);
    return losses;
  }

  MicroBatchLosses Evaluate(const float* p, const int32_t* tokens, const int32_t* targets, int sequences, float* token_losses) {
    const BlockContext context = Context(sequences);
    Forward(context, p, tokens);
    const MicroBatchLosses losses = Head(context, p, targets, 0, nullptr);
    if (token_losses != nullptr) std::copy_n(losses_.data(), context.tokens(), token_losses);
    return losses;
  }

  RouterStats Stats() const {
    RouterStats stats;
    if (!config_.moe) return stats;
    const int e = config_.experts;
    for (const LayerActivations& layer : layers_) {
      stats.counts.insert(stats.counts.end(), layer.counts.begin(), layer.counts.end());
      double entropy = 0;
      for (int64_t i = 0; i < int64_t{tokens_} * e; ++i) {
        const double p = layer.probs[i];
        if (p > 0) entropy -= p * std::log(p);
      }
      stats.entropy.push_back(static_cast<float>(tokens_ == 0 ? 0 : entropy / tokens_));
    }
    return stats;
  }

  int64_t MemoryBytes() const {
    int64_t bytes = 0;
    const auto add = [&bytes](const auto&... tensors) { ((bytes += static_cast<int64_t>(tensors.size()) * 4), ...); };
    for (const LayerActivations& a : layers_) {
      add(a.x, a.h1, a.rstd1, a.q_raw, a.k_raw, a.rstd_q, a.rstd_k, a.q, a.k, a.v, a.attention, a.lse, a.x_mid, a.h2, a.rstd2,
          a.probs, a.weights, a.router_lse, a.experts, a.counts, a.offsets, a.source, a.inverse, a.rows, a.up, a.act, a.down);
    }
    for (const Floats& tensor : scratch_.nd) add(tensor);
    add(scratch_.drows, scratch_.ddown, scratch_.dup, scratch_.dact, scratch_.router, scratch_.dweights);
    add(last_, hidden_, dx_, dhidden_, rstd_, losses_, logits_);
    return bytes;
  }

  const ModelConfig config_;
  const ParameterTable table_;

 private:
  BlockContext Context(int sequences) {
    POLYMOE_CHECK(sequences >= 0 && sequences <= max_sequences_, "%d sequences in a model made for %d", sequences, max_sequences_);
    tokens_ = sequences * length_;
    return {config_, ops_, sequences, length_};
  }

  // Up to the output of the last layer, in last_.
  void Forward(const BlockContext& c, const float* p, const int32_t* tokens) {
    ops_.embedding_forward(c.tokens(), config_.hidden, tokens, p + table_.embedding(), layers_[0].x.data());
    for (int i = 0; i < config_.layers; ++i) {
      AttentionForward(c, table_.layer(i), p, layers_[i]);
      FfnForward(c, table_.layer(i), p, layers_[i], scratch_, i + 1 < config_.layers ? layers_[i + 1].x.data() : last_.data());
    }
  }

  // Final norm, LM head and cross entropy in chunks of rows. With gradients: those of head and norm, and dx_ of the last layer's output.
  MicroBatchLosses Head(const BlockContext& c, const float* p, const int32_t* targets, float scale, float* g) {
    const int n = c.tokens(), d = config_.hidden, v = config_.vocab;
    ops_.rmsnorm_forward(n, d, config_.norm_epsilon, last_.data(), p + table_.final_norm(), hidden_.data(), rstd_.data());
    for (int begin = 0; begin < n; begin += kLogitRows) {
      const int rows = std::min(kLogitRows, n - begin);
      const float* hidden = hidden_.data() + int64_t{begin} * d;
      ops_.linear_forward(rows, v, d, hidden, p + table_.lm_head(), logits_.data());
      ops_.cross_entropy(rows, v, logits_.data(), targets + begin, scale, losses_.data() + begin,
                         g == nullptr ? nullptr : logits_.data());
      if (g == nullptr) continue;
      ops_.linear_backward_weight(rows, v, d, logits_.data(), hidden, g + table_.lm_head());
      ops_.linear_backward_input(rows, v, d, logits_.data(), p + table_.lm_head(), dhidden_.data() + int64_t{begin} * d, false);
    }
    if (g != nullptr) {
      ops_.rmsnorm_backward(n, d, last_.data(), p + table_.final_norm(), rstd_.data(), dhidden_.data(), dx_.data(), false,
                            g + table_.final_norm());
    }
    return Losses(n);
  }

  void Backward(const BlockContext& c, const float* p, const int32_t* tokens, float scale, float* g) {
    for (int i = config_.layers - 1; i >= 0; --i) {
      FfnBackward(c, table_.layer(i), p, layers_[i], scratch_, scale, dx_.data(), g);
      AttentionBackward(c, table_.layer(i), p, layers_[i], scratch_, dx_.data(), g);
    }
    ops_.embedding_backward(c.tokens(), config_.hidden, tokens, dx_.data(), g + table_.embedding());
  }

  MicroBatchLosses Losses(int n) const {
    MicroBatchLosses losses;
    for (int i = 0; i < n; ++i) losses.cross_entropy += losses_[i];
    if (!config_.moe || n == 0) return losses;
    const int e = config_.experts;
    for (const LayerActivations& layer : layers_) {
      double balance = 0, z = 0;
      for (int64_t i = 0; i < n; ++i) {
        for (int j = 0; j < e; ++j) balance += static_cast<double>(layer.counts[j]) * layer.probs[i * e + j];
        z += static_cast<double>(layer.router_lse[i]) * layer.router_lse[i];
      }
      losses.load_balance += balance / n * e / (static_cast<double>(n) * config_.top_k);
      losses.z += z / n;
    }
    losses.load_balance /= config_.layers;
    losses.z /= config_.layers;
    return losses;
  }

  const Ops& ops_;
  const int max_sequences_, length_;
  std::vector<LayerActivations> layers_;
  Scratch scratch_;
  Floats last_;           // [N,D] output of the last layer
  Floats hidden_, rstd_;  // [N,D] [N] after the final norm
  Floats logits_;         // [kLogitRows,V]
  Floats losses_;         // [N]
  Floats dx_, dhidden_;   // [N,D]
  int tokens_ = 0;        // N of the latest forward pass
};

Model::Model(const ModelConfig& config, const Ops& ops, int max_sequences, int sequence_length)
    : impl_(std::make_unique<Impl>(config, ops, max_sequences, sequence_length)) {}
Model::~Model() = default;

const ModelConfig& Model::config() const {
  return impl_->config_;
}
const ParameterTable& Model::table() const {
  return impl_->table_;
}

MicroBatchLosses Model::ForwardBackward(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                                        float scale, float* gradients) {
  return impl_->ForwardBackward(parameters, tokens, targets, sequences, scale, gradients);
}

MicroBatchLosses Model::Evaluate(const float* parameters, const int32_t* tokens, const int32_t* targets, int sequences,
                                 float* token_losses) {
  return impl_->Evaluate(parameters, tokens, targets, sequences, token_losses);
}

RouterStats Model::router_stats() const {
  return impl_->Stats();
}
int64_t Model::memory_bytes() const {
  return impl_->MemoryBytes();
}

}  // namespace polymoe
