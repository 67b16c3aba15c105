#include "worker/model/blocks.h"

namespace polymoe {
namespace {

void ProjectQk(const BlockContext& c, int64_t weight, int64_t norm, const float* p, const float* h, float* raw, float* rstd,
               float* out) {
  const int n = c.tokens(), d = c.config.hidden;
  const bool normed = norm >= 0;
  c.ops.linear_forward(n, d, d, h, p + weight, normed ? raw : out);
  // OLMoE: over the whole projected vector, before the heads are split.
  if (normed) c.ops.rmsnorm_forward(n, d, c.config.norm_epsilon, raw, p + norm, out, rstd);
  c.ops.rope(c.sequences, c.length, c.config.heads, c.config.head_dim(), c.config.rope_theta, /*inverse=*/false, out);
}

// dout [N,D] is the gradient of what attention read; adds the projection's share to dh [N,D]. `spare` [N,D] is overwritten.
void ProjectQkBackward(const BlockContext& c, int64_t weight, int64_t norm, const float* p, const float* h, const float* raw,
                       const float* rstd, float* dout, float* spare, float* dh, bool accumulate, float* g) {
  const int n = c.tokens(), d = c.config.hidden;
  c.ops.rope(c.sequences, c.length, c.config.heads, c.config.head_dim(), c.config.rope_theta, /*inverse=*/true, dout);
  const float* draw = dout;
  if (norm >= 0) {
    c.ops.rmsnorm_backward(n, d, raw, p + norm, rstd, dout, spare, /*accumulate=*/false, g + norm);
    draw = spare;
  }
  c.ops.linear_backward_weight(n, d, d, draw, h, g + weight);
  c.ops.linear_backward_input(n, d, d, draw, p + weight, dh, accumulate);
}

}  // namespace

void AttentionForward(const BlockContext& c, const LayerOffsets& at, const float* p, LayerActivations& a) {
  const int n = c.tokens(), d = c.config.hidden;
  c.ops.rmsnorm_forward(n, d, c.config.norm_epsilon, a.x.data(), p + at.input_norm, a.h1.data(), a.rstd1.data());
  ProjectQk(c, at.q, at.q_norm, p, a.h1.data(), a.q_raw.data(), a.rstd_q.data(), a.q.data());
  ProjectQk(c, at.k, at.k_norm, p, a.h1.data(), a.k_raw.data(), a.rstd_k.data(), a.k.data());
  c.ops.linear_forward(n, d, d, a.h1.data(), p + at.v, a.v.data());
  c.ops.attention_forward(c.sequences, c.length, c.config.heads, c.config.head_dim(), a.q.data(), a.k.data(), a.v.data(),
                          a.attention.data(), a.lse.data());
  c.ops.linear_forward(n, d, d, a.attention.data(), p + at.o, a.x_mid.data());
  c.ops.add(int64_t{n} * d, a.x.data(), a.x_mid.data());
}

void AttentionBackward(const BlockContext& c, const LayerOffsets& at, const float* p, const LayerActivations& a, Scratch& s,
                       float* dx, float* g) {
  const int n = c.tokens(), d = c.config.hidden;
  float *dq = s.nd[0].data(), *dk = s.nd[1].data(), *dv = s.nd[2].data(), *dh = s.nd[3].data(), *spare = s.nd[4].data();
  float* dattention = dh;  // free until the projections' gradients arrive there
  c.ops.linear_backward_weight(n, d, d, dx, a.attention.data(), g + at.o);
  c.ops.linear_backward_input(n, d, d, dx, p + at.o, dattention, /*accumulate=*/false);
  c.ops.attention_backward(c.sequences, c.length, c.config.heads, c.config.head_dim(), a.q.data(), a.k.data(), a.v.data(),
                           a.attention.data(), a.lse.data(), dattention, dq, dk, dv);
  ProjectQkBackward(c, at.q, at.q_norm, p, a.h1.data(), a.q_raw.data(), a.rstd_q.data(), dq, spare, dh, /*accumulate=*/false, g);
  ProjectQkBackward(c, at.k, at.k_norm, p, a.h1.data(), a.k_raw.data(), a.rstd_k.data(), dk, spare, dh, /*accumulate=*/true, g);
  c.ops.linear_backward_weight(n, d, d, dv, a.h1.data(), g + at.v);
  c.ops.linear_backward_input(n, d, d, dv, p + at.v, dh, /*accumulate=*/true);
  c.ops.rmsnorm_backward(n, d, a.x.data(), p + at.input_norm, a.rstd1.data(), dh, dx, /*accumulate=*/true, g + at.input_norm);
}

}  // namespace polymoe
