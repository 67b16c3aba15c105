#include "worker/model/blocks.h"

namespace polymoe {
namespace {

// Floats between the coefficient sets of two experts: 0 when one set serves all.
int CoefficientStride(const ModelConfig& config) {
  return config.coefficient_sets() > 1 ? config.activation.coefficient_count() : 0;
}

template <class Element>
void Route(const BlockContext<Element>& c, const LayerOffsets& at, LayerActivations<Element>& a, Scratch<Element>& s) {
  const int n = c.tokens(), d = c.config.hidden, e = c.config.experts, k = c.config.top_k;
  c.ops.linear_fp32(c.all(), e, d, a.h2, c.weights + at.router, nullptr, s.router_logits);
  c.ops.router_forward(n, e, k, s.router_logits, a.probs, a.experts, a.weights, a.router_lse, a.counts, s.router_sums.data());
  c.ops.dispatch_plan(n, e, k, a.experts, a.offsets, a.source, a.tokens, a.inverse);
}

// From product_dx() and the activations of the experts (dense: of the one FFN) to the gradients of their tensors, of the routing
// weights in s.dweights, and of their pre-activations in s.dup.
template <class Element>
void ExpertsBackward(const BlockContext<Element>& c, const LayerOffsets& at, const LayerActivations<Element>& a,
                     Scratch<Element>& s, float* g) {
  const ModelConfig& config = c.config;
  const int d = config.hidden, f = config.ffn;
  const RowGroups groups = a.groups(config);
  const Element* dx = s.product_dx();
  c.ops.linear_backward_weight(groups, d, f, dx, a.tokens, a.act, nullptr, c.accumulate, g + at.down);
  c.ops.linear_backward_input(groups, d, f, dx, a.tokens, c.weights + at.down, s.dact);
  const bool coefficients = at.coefficients >= 0;
  c.ops.activation_backward(config.activation, groups, f, a.up, coefficients ? c.parameters + at.coefficients : nullptr,
                            CoefficientStride(config), a.row_weights(), s.dact, s.dup, s.dweights,
                            coefficients ? g + at.coefficients : nullptr);
  c.ops.linear_backward_weight(groups, config.up_width(), d, s.dup, nullptr, a.h2, a.tokens, c.accumulate, g + at.up);
}

// s.dh [N,D] = the gradient that reaches the norm's output through the experts and through the router.
template <class Element>
void RoutedInputBackward(const BlockContext<Element>& c, const LayerOffsets& at, const LayerActivations<Element>& a,
                         Scratch<Element>& s, float scale, float* g) {
  const ModelConfig& config = c.config;
  const int n = c.tokens(), d = config.hidden, e = config.experts, k = config.top_k;
  c.ops.linear_backward_input(a.groups(config), config.up_width(), d, s.dup, nullptr, c.weights + at.up, s.rows);
  c.ops.combine(n, d, k, a.inverse, s.rows, nullptr, s.dh);
  // Objective: scale * N / layers * (w_lb * E / (N K) * sum_e counts_e * mean prob_e + w_z * mean lse^2).
  const float balance = scale * config.load_balance_loss * e / (static_cast<float>(config.layers) * n * k);
  const float z = scale * config.z_loss / config.layers;
  c.ops.router_backward(n, e, k, a.probs, a.experts, a.router_lse, a.counts, s.dweights, balance, z, s.drouter_logits);
  c.ops.linear_backward_weight(c.all(), e, d, s.drouter_logits, nullptr, a.h2, nullptr, c.accumulate, g + at.router);
  c.ops.linear_backward_input_fp32(c.all(), e, d, s.drouter_logits, c.weights + at.router, /*accumulate=*/true, s.dh);
}

}  // namespace

template <class Element>
void FfnForward(const BlockContext<Element>& c, const LayerOffsets& at, LayerActivations<Element>& a, Scratch<Element>& s,
                float* next) {
  const ModelConfig& config = c.config;
  const int n = c.tokens(), d = config.hidden, f = config.ffn;
  c.ops.rmsnorm_forward(n, d, config.norm_epsilon, a.x_mid, c.parameters + at.post_norm, a.h2, a.rstd2);
  if (config.moe) {
    Route(c, at, a, s);
  } else {
    a.offsets[0] = 0, a.offsets[1] = n;
  }
  const RowGroups groups = a.groups(config);
  c.ops.linear(groups, config.up_width(), d, a.h2, a.tokens, c.weights + at.up, a.up);
  c.ops.activation_forward(config.activation, groups, f, a.up, at.coefficients < 0 ? nullptr : c.parameters + at.coefficients,
                           CoefficientStride(config), a.row_weights(), a.act);
  if (next == nullptr) return;
  if (config.moe) {
    c.ops.linear(groups, d, f, a.act, nullptr, c.weights + at.down, s.rows);
    c.ops.combine(n, d, config.top_k, a.inverse, s.rows, a.x_mid, next);
  } else {
    c.ops.linear_fp32(groups, d, f, a.act, c.weights + at.down, a.x_mid, next);
  }
}

template <class Element>
void FfnBackward(const BlockContext<Element>& c, const LayerOffsets& at, const LayerActivations<Element>& a, Scratch<Element>& s,
                 float scale, float* g) {
  const int n = c.tokens(), d = c.config.hidden;
  ExpertsBackward(c, at, a, s, g);
  if (c.config.moe) {
    RoutedInputBackward(c, at, a, s, scale, g);
  } else {
    c.ops.linear_backward_input_fp32(c.all(), c.config.up_width(), d, s.dup, c.weights + at.up, /*accumulate=*/false, s.dh);
  }
  c.ops.rmsnorm_backward(n, d, a.x_mid, c.parameters + at.post_norm, a.rstd2, s.dh, s.dx, /*accumulate=*/true, s.rounded_dx,
                         g + at.post_norm);
}

#define POLYMOE_INSTANTIATE(Element)                                                                                         \
  template void FfnForward(const BlockContext<Element>&, const LayerOffsets&, LayerActivations<Element>&, Scratch<Element>&, \
                           float*);                                                                                          \
  template void FfnBackward(const BlockContext<Element>&, const LayerOffsets&, const LayerActivations<Element>&,             \
                            Scratch<Element>&, float, float*)
POLYMOE_INSTANTIATE(float);
POLYMOE_INSTANTIATE(BF16);
#undef POLYMOE_INSTANTIATE

}  // namespace polymoe
