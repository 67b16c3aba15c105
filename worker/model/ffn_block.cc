#include <algorithm>

#include "worker/model/blocks.h"

namespace polymoe {
namespace {

// Floats between the coefficient sets of two experts: 0 when one set serves all.
int CoefficientStride(const ModelConfig& config) {
  return config.coefficient_sets() > 1 ? config.activation.coefficient_count() : 0;
}

void Route(const BlockContext& c, const LayerOffsets& at, const float* p, LayerActivations& a, Scratch& s) {
  const int n = c.tokens(), d = c.config.hidden, e = c.config.experts, k = c.config.top_k;
  c.ops.linear_forward(n, e, d, a.h2.data(), p + at.router, s.router.data());
  c.ops.router_forward(n, e, k, s.router.data(), a.probs.data(), a.experts.data(), a.weights.data(), a.router_lse.data(),
                       a.counts.data());
  c.ops.dispatch_plan(n, e, k, a.experts.data(), a.offsets.data(), a.source.data(), a.inverse.data());
  c.ops.dispatch(n * k, d, k, a.source.data(), a.h2.data(), a.rows.data());
}

// Up projection, activation, down projection of grouped rows: `in` [M,D] -> `out` [M,D].
void ExpertsForward(const BlockContext& c, const LayerOffsets& at, const float* p, LayerActivations& a, const float* in,
                    float* out) {
  const ModelConfig& config = c.config;
  const RowGroups groups = a.groups(config);
  c.ops.grouped_linear_forward(groups, config.up_width(), config.hidden, in, p + at.up, a.up.data());
  c.ops.activation_forward(config.activation, groups, config.ffn, a.up.data(), at.coefficients < 0 ? nullptr : p + at.coefficients,
                           CoefficientStride(config), a.act.data());
  c.ops.grouped_linear_forward(groups, config.hidden, config.ffn, a.act.data(), p + at.down, out);
}

// dout [M,D] -> din [M,D], and the gradients of the experts' tensors.
void ExpertsBackward(const BlockContext& c, const LayerOffsets& at, const float* p, const LayerActivations& a, Scratch& s,
                     const float* in, const float* dout, float* din, float* g) {
  const ModelConfig& config = c.config;
  const RowGroups groups = a.groups(config);
  const bool coefficients = at.coefficients >= 0;
  c.ops.grouped_linear_backward_weight(groups, config.hidden, config.ffn, dout, a.act.data(), g + at.down);
  c.ops.grouped_linear_backward_input(groups, config.hidden, config.ffn, dout, p + at.down, s.dact.data());
  c.ops.activation_backward(config.activation, groups, config.ffn, a.up.data(), coefficients ? p + at.coefficients : nullptr,
                            CoefficientStride(config), s.dact.data(), s.dup.data(), coefficients ? g + at.coefficients : nullptr);
  c.ops.grouped_linear_backward_weight(groups, config.up_width(), config.hidden, s.dup.data(), in, g + at.up);
  c.ops.grouped_linear_backward_input(groups, config.up_width(), config.hidden, s.dup.data(), p + at.up, din);
}

// dh [N,D]: the gradient that reached the norm's output through the experts and through the router.
void RoutedBackward(const BlockContext& c, const LayerOffsets& at, const float* p, const LayerActivations& a, Scratch& s,
                    float scale, const float* dx, float* dh, float* g) {
  const ModelConfig& config = c.config;
  const int n = c.tokens(), d = config.hidden, e = config.experts, k = config.top_k;
  c.ops.combine_backward(n * k, d, k, a.source.data(), a.weights.data(), a.down.data(), dx, s.ddown.data(), s.dweights.data());
  ExpertsBackward(c, at, p, a, s, a.rows.data(), s.ddown.data(), s.drows.data(), g);
  c.ops.dispatch_backward(n, d, k, a.inverse.data(), s.drows.data(), dh, /*accumulate=*/false);
  // Objective: scale * N / layers * (w_lb * E / (N K) * sum_e counts_e * mean prob_e + w_z * mean lse^2).
  const float balance = scale * config.load_balance_loss * e / (static_cast<float>(config.layers) * n * k);
  const float z = scale * config.z_loss / config.layers;
  c.ops.router_backward(n, e, k, a.probs.data(), a.experts.data(), a.router_lse.data(), a.counts.data(), s.dweights.data(), balance,
                        z, s.router.data());
  c.ops.linear_backward_weight(n, e, d, s.router.data(), a.h2.data(), g + at.router);
  c.ops.linear_backward_input(n, e, d, s.router.data(), p + at.router, dh, /*accumulate=*/true);
}

}  // namespace

void FfnForward(const BlockContext& c, const LayerOffsets& at, const float* p, LayerActivations& a, Scratch& s, float* next) {
  const int n = c.tokens(), d = c.config.hidden;
  c.ops.rmsnorm_forward(n, d, c.config.norm_epsilon, a.x_mid.data(), p + at.post_norm, a.h2.data(), a.rstd2.data());
  if (c.config.moe) {
    Route(c, at, p, a, s);
    ExpertsForward(c, at, p, a, a.rows.data(), a.down.data());
    std::copy_n(a.x_mid.data(), int64_t{n} * d, next);
    c.ops.combine(n, d, c.config.top_k, a.inverse.data(), a.weights.data(), a.down.data(), next);
  } else {
    a.offsets = {0, n};
    ExpertsForward(c, at, p, a, a.h2.data(), next);
    c.ops.add(int64_t{n} * d, a.x_mid.data(), next);
  }
}

void FfnBackward(const BlockContext& c, const LayerOffsets& at, const float* p, const LayerActivations& a, Scratch& s, float scale,
                 float* dx, float* g) {
  const int n = c.tokens(), d = c.config.hidden;
  float* dh = s.nd[0].data();
  if (c.config.moe) {
    RoutedBackward(c, at, p, a, s, scale, dx, dh, g);
  } else {
    ExpertsBackward(c, at, p, a, s, a.h2.data(), dx, dh, g);
  }
  c.ops.rmsnorm_backward(n, d, a.x_mid.data(), p + at.post_norm, a.rstd2.data(), dh, dx, /*accumulate=*/true, g + at.post_norm);
}

}  // namespace polymoe
