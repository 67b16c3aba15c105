// What a forward pass leaves behind for the backward pass, and scratch that every layer uses in turn. Taken once, for the largest
// micro-batch. Sizes: N tokens, D hidden, H heads, E experts, K top-k, M = N*K routed rows, U rows of the up projection, F ffn.
#ifndef POLYMOE_WORKER_MODEL_ACTIVATIONS_H_
#define POLYMOE_WORKER_MODEL_ACTIVATIONS_H_

#include <cstdint>
#include <vector>

#include "worker/model/config.h"

namespace polymoe {

using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;

struct LayerActivations {
  Floats x;               // [N,D] residual stream coming in
  Floats h1, rstd1;       // [N,D] [N] after the input norm
  Floats q_raw, k_raw;    // [N,D] before QK norm (moe only)
  Floats rstd_q, rstd_k;  // [N]
  Floats q, k, v;         // [N,D] as attention reads them
  Floats attention;       // [N,D]
  Floats lse;             // [B,H,T]
  Floats x_mid;           // [N,D] residual stream after attention
  Floats h2, rstd2;       // [N,D] [N] after the second norm
  Floats probs;           // [N,E]
  Floats weights;         // [N,K]
  Floats router_lse;      // [N]
  Ints experts;           // [N,K]
  Ints counts;            // [E]
  Ints offsets;           // [E+1] rows of each expert; {0, N} when dense
  Ints source, inverse;   // [M]
  Floats rows;            // [M,D] h2 by expert (moe only; dense reads h2)
  Floats up;              // [M,U]
  Floats act;             // [M,F]
  Floats down;            // [M,D] (moe only; dense adds straight to the residual stream)

  LayerActivations(const ModelConfig& c, int64_t n) {
    const int64_t d = c.hidden, m = n * c.top_k;
    for (Floats* tensor : {&x, &h1, &q, &k, &v, &attention, &x_mid, &h2}) tensor->resize(n * d);
    for (Floats* tensor : {&rstd1, &rstd2}) tensor->resize(n);
    lse.resize(n * c.heads);
    offsets.resize(c.experts + 1);
    up.resize(m * c.up_width());
    act.resize(m * c.ffn);
    if (!c.moe) return;
    for (Floats* tensor : {&q_raw, &k_raw}) tensor->resize(n * d);
    for (Floats* tensor : {&rstd_q, &rstd_k, &router_lse}) tensor->resize(n);
    probs.resize(n * c.experts);
    weights.resize(m);
    counts.resize(c.experts);
    for (Ints* tensor : {&experts, &source, &inverse}) tensor->resize(m);
    for (Floats* tensor : {&rows, &down}) tensor->resize(m * d);
  }

  RowGroups groups(const ModelConfig& c) const { return {c.experts, offsets.data()}; }
};

struct Scratch {
  Floats nd[5];         // [N,D] each
  Floats drows, ddown;  // [M,D]
  Floats dup;           // [M,U]
  Floats dact;          // [M,F]
  Floats router;        // [N,E] logits, later their gradient
  Floats dweights;      // [N,K]

  Scratch(const ModelConfig& c, int64_t n) {
    const int64_t m = n * c.top_k;
    for (Floats& tensor : nd) tensor.resize(n * c.hidden);
    dup.resize(m * c.up_width());
    dact.resize(m * c.ffn);
    if (!c.moe) return;
    for (Floats* tensor : {&drows, &ddown}) tensor->resize(m * c.hidden);
    router.resize(n * c.experts);
    dweights.resize(m);
  }
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_ACTIVATIONS_H_
