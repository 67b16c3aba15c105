#include <algorithm>

#include "worker/model/blocks.h"
#include "worker/model/dispatch.h"

namespace polymoe {
namespace {

// Floats between the coefficient sets of two experts: 0 when one set serves all.
int CoefficientStride(const ModelConfig& config) {
  return config.coefficient_sets() > 1 ? config.activation.coefficient_count() : 0;
}

template <class Element>
const float* Coefficients(const BlockContext<Element>& c, const LayerOffsets& at) {
  return at.coefficients < 0 ? nullptr : c.parameters + at.coefficients;
}

// f(first token, tokens, number) for each stretch of tokens that has a load-balance loss of its own.
template <class Element, class F>
void ForEachBalanceGroup(const BlockContext<Element>& c, const F& f) {
  for (int begin = 0, group = 0; begin < c.tokens(); begin += c.balance_tokens, ++group) {
    f(int64_t{begin}, std::min(c.balance_tokens, c.tokens() - begin), int64_t{group});
  }
}

template <class Element>
void Route(const BlockContext<Element>& c, const LayerOffsets& at, LayerActivations<Element>& a, Scratch<Element>& s) {
  const int d = c.config.hidden, e = c.config.experts, k = c.config.top_k;
  c.ops.linear_fp32(c.all(), e, d, a.h2, c.weights + at.router, nullptr, s.router_logits);
  ForEachBalanceGroup(c, [&](int64_t begin, int n, int64_t group) {
    c.ops.router_forward(n, e, k, s.router_logits + begin * e, a.probs + begin * e, a.experts + begin * k, a.weights + begin * k,
                         a.router_lse + begin, a.counts + group * e, s.router_sums.data() + group * (e + 2));
  });
}

// Cuts the micro-batch into chunks and, with other ranks, sends them on their way.
template <class Element>
void Dispatch(const BlockContext<Element>& c, LayerActivations<Element>& a, Scratch<Element>& s) {
  const auto chunks = static_cast<int>(a.chunks.size());
  for (ExpertRows<Element>& chunk : a.chunks) {
    chunk.begin = static_cast<int>(int64_t{c.tokens()} * chunk.index / chunks);
    chunk.end = static_cast<int>(int64_t{c.tokens()} * (chunk.index + 1) / chunks);
    chunk.received = chunk.tokens();
  }
  if (c.exchange == nullptr) return;
  for (ExpertRows<Element>& chunk : a.chunks) Announce(c, a, chunk);
  for (ExpertRows<Element>& chunk : a.chunks) Send(c, a, chunk, s.wires[chunk.index]);
}

// Up projection and activation of the rows that are routed to the experts here (dense: of all rows).
template <class Element>
void ExpertsForward(const BlockContext<Element>& c, const LayerOffsets& at, ExpertRows<Element>& chunk) {
  const ModelConfig& config = c.config;
  if (config.moe) {
    c.ops.dispatch_plan(chunk.received, c.shard.first, c.shard.count, config.top_k, chunk.experts, chunk.offsets, chunk.source,
                        chunk.tokens_of, chunk.inverse);
  } else {
    chunk.offsets[0] = 0, chunk.offsets[1] = chunk.received;
  }
  const RowGroups groups = chunk.groups(c.extent);
  c.ops.linear(groups, config.up_width(), config.hidden, chunk.x, chunk.tokens_of, c.weights + at.up, chunk.up);
  c.ops.activation_forward(config.activation, groups, config.ffn, chunk.up, Coefficients(c, at), CoefficientStride(config),
                           chunk.row_weights(), chunk.act);
}

// Down projection and the way back to the tokens.
template <class Element>
void ExpertsOutput(const BlockContext<Element>& c, const LayerOffsets& at, const LayerActivations<Element>& a,
                   const ExpertRows<Element>& chunk, Scratch<Element>& s, float* next) {
  const int d = c.config.hidden, f = c.config.ffn, k = c.config.top_k;
  const RowGroups groups = chunk.groups(c.extent);
  if (!c.config.moe) return c.ops.linear_fp32(groups, d, f, chunk.act, c.weights + at.down, a.x_mid, next);
  c.ops.linear(groups, d, f, chunk.act, nullptr, c.weights + at.down, s.rows);
  if (c.exchange == nullptr) return c.ops.combine(chunk.received, d, k, chunk.inverse, s.rows, a.x_mid, next);
  Wire<Element>& wire = s.wires[chunk.index];
  c.ops.combine_rows(chunk.received, d, k, chunk.inverse, s.rows, wire.partial);
  Return(c, chunk, wire);
}

// From `dy` [Q,D], the gradient of the outputs of x's rows, to the gradients of the experts' tensors, of the routing weights, and of x
// (dense: of the pre-activations, in s.dup). Gradients of tensors come last: with other ranks, x's is on its way home by then.
template <class Element>
void ExpertsBackward(const BlockContext<Element>& c, const LayerOffsets& at, const ExpertRows<Element>& chunk, const Element* dy,
                     float* dweights, Scratch<Element>& s, float* g) {
  const ModelConfig& config = c.config;
  const int d = config.hidden, f = config.ffn, up = config.up_width();
  const RowGroups groups = chunk.groups(c.extent);
  c.ops.linear_backward_input(groups, d, f, dy, chunk.tokens_of, c.weights + at.down, s.dact);
  c.ops.activation_backward(config.activation, groups, f, chunk.up, Coefficients(c, at), CoefficientStride(config),
                            chunk.row_weights(), s.dact, s.dup, dweights, at.coefficients < 0 ? nullptr : g + at.coefficients);
  if (config.moe) {
    c.ops.linear_backward_input(groups, up, d, s.dup, nullptr, c.weights + at.up, s.rows);
    if (c.exchange == nullptr) {
      c.ops.combine(chunk.received, d, config.top_k, chunk.inverse, s.rows, nullptr, s.dh);
    } else {
      Wire<Element>& wire = s.wires[chunk.index];
      c.ops.combine_rows(chunk.received, d, config.top_k, chunk.inverse, s.rows, wire.partial);
      ReturnGradients(c, chunk, wire);
    }
  }
  const bool accumulate = c.accumulate || chunk.index > 0;
  c.ops.linear_backward_weight(groups, d, f, dy, chunk.tokens_of, chunk.act, nullptr, accumulate, g + at.down);
  c.ops.linear_backward_weight(groups, up, d, s.dup, nullptr, chunk.x, chunk.tokens_of, accumulate, g + at.up);
}

// ExpertsBackward of all chunks: s.dh [N,D] and s.dweights [N,K] of the tokens here.
template <class Element>
void RoutedBackward(const BlockContext<Element>& c, const LayerOffsets& at, const LayerActivations<Element>& a, Scratch<Element>& s,
                    float* g) {
  if (c.exchange == nullptr) return ExpertsBackward(c, at, a.chunks[0], s.product_dx(), s.dweights, s, g);
  const int d = c.config.hidden, ranks = c.extent.ranks;
  for (const ExpertRows<Element>& chunk : a.chunks) SendGradients(c, chunk, s.product_dx(), s.wires[chunk.index]);
  for (const ExpertRows<Element>& chunk : a.chunks) {
    const Wire<Element>& wire = s.wires[chunk.index];
    ReceiveGradients(c, chunk);
    ExpertsBackward(c, at, chunk, wire.dy, wire.dweights, s, g);
  }
  for (const ExpertRows<Element>& chunk : a.chunks) {
    const Wire<Element>& wire = s.wires[chunk.index];
    CollectGradients(c, a, chunk, wire, s.dweights);
    c.ops.combine(chunk.tokens(), d, ranks, chunk.slots, wire.home, nullptr, s.dh + int64_t{chunk.begin} * d);
  }
}

// s.dh += what reaches the norm's output through the router.
template <class Element>
void RouterBackward(const BlockContext<Element>& c, const LayerOffsets& at, const LayerActivations<Element>& a, Scratch<Element>& s,
                    float scale, float* g) {
  const ModelConfig& config = c.config;
  const int d = config.hidden, e = config.experts, k = config.top_k;
  const float z = scale * config.z_loss / config.layers;
  ForEachBalanceGroup(c, [&](int64_t begin, int n, int64_t group) {
    // Objective, for a group of n of all N tokens: scale * n / layers * w_lb * E / (n K) * sum_e counts_e * mean prob_e.
    const float balance = scale * config.load_balance_loss * e / (static_cast<float>(config.layers) * n * k);
    c.ops.router_backward(n, e, k, a.probs + begin * e, a.experts + begin * k, a.router_lse + begin, a.counts + group * e,
                          s.dweights + begin * k, balance, z, s.drouter_logits + begin * e);
  });
  c.ops.linear_backward_weight(c.all(), e, d, s.drouter_logits, nullptr, a.h2, nullptr, c.accumulate, g + at.router);
  c.ops.linear_backward_input_fp32(c.all(), e, d, s.drouter_logits, c.weights + at.router, /*accumulate=*/true, s.dh);
}

}  // namespace

template <class Element>
void FfnForward(const BlockContext<Element>& c, const LayerOffsets& at, LayerActivations<Element>& a, Scratch<Element>& s,
                float* next) {
  const int d = c.config.hidden;
  c.ops.rmsnorm_forward(c.tokens(), d, c.config.norm_epsilon, a.x_mid, c.parameters + at.post_norm, a.h2, a.rstd2);
  if (c.config.moe) Route(c, at, a, s);
  Dispatch(c, a, s);
  for (ExpertRows<Element>& chunk : a.chunks) {
    if (c.exchange != nullptr) Receive(c, chunk, s.wires[chunk.index]);
    ExpertsForward(c, at, chunk);
    if (next != nullptr) ExpertsOutput(c, at, a, chunk, s, next);
  }
  if (c.exchange == nullptr || next == nullptr) return;
  for (const ExpertRows<Element>& chunk : a.chunks) {
    const int64_t begin = int64_t{chunk.begin} * d;
    Collect(c, chunk);
    c.ops.combine(chunk.tokens(), d, c.extent.ranks, chunk.slots, s.wires[chunk.index].home, a.x_mid + begin, next + begin);
  }
}

template <class Element>
void UnweightedActivation(const BlockContext<Element>& c, const LayerOffsets& at, ExpertRows<Element>& chunk) {
  c.ops.activation_forward(c.config.activation, chunk.groups(c.extent), c.config.ffn, chunk.up, Coefficients(c, at),
                           CoefficientStride(c.config), RowWeights{}, chunk.act);
}

template <class Element>
void FfnBackward(const BlockContext<Element>& c, const LayerOffsets& at, const LayerActivations<Element>& a, Scratch<Element>& s,
                 float scale, float* g) {
  const int n = c.tokens(), d = c.config.hidden;
  if (c.config.moe) {
    RoutedBackward(c, at, a, s, g);
    RouterBackward(c, at, a, s, scale, g);
  } else {
    ExpertsBackward<Element>(c, at, a.chunks[0], s.product_dx(), nullptr, s, g);
    c.ops.linear_backward_input_fp32(c.all(), c.config.up_width(), d, s.dup, c.weights + at.up, /*accumulate=*/false, s.dh);
  }
  c.ops.rmsnorm_backward(n, d, a.x_mid, c.parameters + at.post_norm, a.rstd2, s.dh, s.dx, /*accumulate=*/true, s.rounded_dx,
                         g + at.post_norm);
}

#define POLYMOE_INSTANTIATE(Element)                                                                                         \
  template void FfnForward(const BlockContext<Element>&, const LayerOffsets&, LayerActivations<Element>&, Scratch<Element>&, \
                           float*);                                                                                          \
  template void UnweightedActivation(const BlockContext<Element>&, const LayerOffsets&, ExpertRows<Element>&);               \
  template void FfnBackward(const BlockContext<Element>&, const LayerOffsets&, const LayerActivations<Element>&,             \
                            Scratch<Element>&, float, float*)
POLYMOE_INSTANTIATE(float);
POLYMOE_INSTANTIATE(BF16);
#undef POLYMOE_INSTANTIATE

}  // namespace polymoe
