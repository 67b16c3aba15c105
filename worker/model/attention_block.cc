#include "worker/model/blocks.h"

namespace polymoe {
namespace {

// OLMoE norms q and k over their whole width, before the heads are split; LLaMA does not.
const float* Norm(const float* parameters, int64_t offset) {
  return offset < 0 ? nullptr : parameters + offset;
}

}  // namespace

template <class Element>
void AttentionForward(const BlockContext<Element>& c, const LayerOffsets& at, LayerActivations<Element>& a) {
  const int n = c.tokens(), d = c.config.hidden;
  const float *p = c.parameters, epsilon = c.config.norm_epsilon;
  c.ops.rmsnorm_forward(n, d, epsilon, a.x, p + at.input_norm, a.h1, a.rstd1);
  c.ops.linear(c.all(), 3 * d, d, a.h1, nullptr, c.weights + at.qkv, a.qkv);
  c.ops.qk_forward(c.shape, epsilon, c.rope, a.qkv, Norm(p, at.q_norm), Norm(p, at.k_norm), a.qk, a.rstd_qk);
  c.ops.attention_forward(c.shape, a.qk, a.qkv, a.attention, a.lse);
  c.ops.linear_fp32(c.all(), d, d, a.attention, c.weights + at.o, a.x, a.x_mid);
}

template <class Element>
void AttentionBackward(const BlockContext<Element>& c, const LayerOffsets& at, const LayerActivations<Element>& a,
                       Scratch<Element>& s, float* g) {
  const int n = c.tokens(), d = c.config.hidden;
  const float* p = c.parameters;
  const Element* dx = s.product_dx();
  c.ops.linear_backward_weight(c.all(), d, d, dx, nullptr, a.attention, nullptr, c.accumulate, g + at.o);
  c.ops.linear_backward_input(c.all(), d, d, dx, nullptr, c.weights + at.o, s.dattention);
  c.ops.attention_backward(c.shape, a.qk, a.qkv, a.attention, a.lse, s.dattention, s.dqkv);
  const bool normed = at.q_norm >= 0;
  c.ops.qk_backward(c.shape, c.rope, a.qkv, Norm(p, at.q_norm), Norm(p, at.k_norm), a.rstd_qk, s.dqkv,
                    normed ? g + at.q_norm : nullptr, normed ? g + at.k_norm : nullptr);
  c.ops.linear_backward_weight(c.all(), 3 * d, d, s.dqkv, nullptr, a.h1, nullptr, c.accumulate, g + at.qkv);
  c.ops.linear_backward_input_fp32(c.all(), 3 * d, d, s.dqkv, c.weights + at.qkv, /*accumulate=*/false, s.dh);
  c.ops.rmsnorm_backward(n, d, a.x, p + at.input_norm, a.rstd1, s.dh, s.dx, /*accumulate=*/true, s.rounded_dx, g + at.input_norm);
}

#define POLYMOE_INSTANTIATE(Element)                                                                                   \
  template void AttentionForward(const BlockContext<Element>&, const LayerOffsets&, LayerActivations<Element>&);       \
  template void AttentionBackward(const BlockContext<Element>&, const LayerOffsets&, const LayerActivations<Element>&, \
                                  Scratch<Element>&, float*)
POLYMOE_INSTANTIATE(float);
POLYMOE_INSTANTIATE(BF16);
#undef POLYMOE_INSTANTIATE

}  // namespace polymoe
