// What a forward pass leaves behind for the backward pass, and scratch that every layer uses in turn, for the largest micro-batch. The
// pointers lie in an Arena. Sizes: B sequences of T tokens, N = B*T, D hidden, H heads, E experts, K top-k, M = N*K routed rows, U rows
// of the up projection, F ffn, V vocabulary. `Element` is float or BF16 (kernels/ops.h). common/spec/memory_plan.cc counts the same.
#ifndef POLYMOE_WORKER_MODEL_ACTIVATIONS_H_
#define POLYMOE_WORKER_MODEL_ACTIVATIONS_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "worker/model/arena.h"
#include "worker/model/config.h"

namespace polymoe {

template <class Element>
struct LayerActivations {
  float* x = nullptr;            // [N,D] residual stream coming in
  Element* h1 = nullptr;         // [N,D] after the input norm
  float* rstd1 = nullptr;        // [N]
  Element* qkv = nullptr;        // [N,3D] as projected
  Element* qk = nullptr;         // [N,2D] as attention reads them
  float* rstd_qk = nullptr;      // [N,2] (moe)
  Element* attention = nullptr;  // [N,D]
  float* lse = nullptr;          // [B,H,T]
  float* x_mid = nullptr;        // [N,D] residual stream after attention
  Element* h2 = nullptr;         // [N,D] after the second norm
  float* rstd2 = nullptr;        // [N]
  int32_t* offsets = nullptr;    // [E+1] rows of each expert; {0, N} when dense
  Element* up = nullptr;         // [M,U]
  Element* act = nullptr;        // [M,F]
  // The routing: null when dense.
  float* probs = nullptr;       // [N,E]
  float* weights = nullptr;     // [N,K]
  float* router_lse = nullptr;  // [N]
  int32_t* experts = nullptr;   // [N,K]
  int32_t* counts = nullptr;    // [E]
  int32_t* tokens = nullptr;    // [M]
  int32_t* source = nullptr;    // [M]
  int32_t* inverse = nullptr;   // [M]

  // All but x, for n tokens.
  void Place(const ModelConfig& c, int64_t n, Arena::Cutter& cut) {
    const int64_t d = c.hidden, m = n * c.top_k;
    cut(h1, n * d);
    cut(rstd1, n);
    cut(qkv, n * 3 * d);
    cut(qk, n * 2 * d);
    cut(attention, n * d);
    cut(lse, n * c.heads);
    cut(x_mid, n * d);
    cut(h2, n * d);
    cut(rstd2, n);
    cut(offsets, c.experts + 1);
    cut(up, m * c.up_width());
    cut(act, m * c.ffn);
    if (!c.moe) return;
    cut(rstd_qk, n * 2);
    cut(probs, n * c.experts);
    cut(weights, m);
    cut(router_lse, n);
    cut(experts, m);
    cut(counts, c.experts);
    cut(tokens, m);
    cut(source, m);
    cut(inverse, m);
  }

  RowGroups groups(const ModelConfig& c) const { return {c.experts, offsets}; }
  RowWeights row_weights() const { return {weights, source}; }
};

template <class Element>
struct Scratch {
  // Rows of logits that exist at one time: V is much larger than D, and all logits of a micro-batch would be the largest tensor.
  static constexpr int kLogitRows = 512;

  float* dx = nullptr;                       // [N,D] gradient of the residual stream, from the last layer down to the embedding
  Element* rounded_dx = nullptr;             // [N,D] the same as products read it (bf16)
  float* dh = nullptr;                       // [N,D] gradient of a norm's output
  Element* dattention = nullptr;             // [N,D]
  Element* dqkv = nullptr;                   // [N,3D]
  Element *dact = nullptr, *dup = nullptr;   // [M,F], [M,U]
  float* rope = nullptr;                     // [2,T,head_dim/2] RopeTable
  float* last = nullptr;                     // [N,D] output of the last layer
  Element* hidden = nullptr;                 // [N,D] after the final norm
  float *rstd = nullptr, *losses = nullptr;  // [N] of the final norm; of each token
  float* logits = nullptr;                   // [kLogitRows,V]
  Element* dlogits = nullptr;                // [kLogitRows,V]
  // Of the experts: null when dense.
  Element* rows = nullptr;            // [M,D] outputs of experts, later gradients of their inputs
  float* router_logits = nullptr;     // [N,E]
  Element* drouter_logits = nullptr;  // [N,E]
  float* dweights = nullptr;          // [N,K]
  std::vector<double> router_sums;    // [E+2] as router_forward gives them

  // For n tokens in sequences of `length`.
  void Place(const ModelConfig& c, int64_t n, int64_t length, Arena::Cutter& cut) {
    const int64_t d = c.hidden, m = n * c.top_k, logit_rows = std::min<int64_t>(n, kLogitRows);
    cut(dx, n * d);
    cut(dh, n * d);
    if constexpr (!std::is_same_v<Element, float>) cut(rounded_dx, n * d);
    cut(dattention, n * d);
    cut(dqkv, n * 3 * d);
    cut(dact, m * c.ffn);
    cut(dup, m * c.up_width());
    cut(rope, length * c.head_dim());
    cut(last, n * d);
    cut(hidden, n * d);
    cut(rstd, n);
    cut(losses, n);
    cut(logits, logit_rows * c.vocab);
    cut(dlogits, logit_rows * c.vocab);
    if (!c.moe) return;
    cut(rows, m * d);
    cut(router_logits, n * c.experts);
    cut(drouter_logits, n * c.experts);
    cut(dweights, m);
    router_sums.resize(c.experts + 2);
  }

  // dx as products read it.
  const Element* product_dx() const {
    if constexpr (std::is_same_v<Element, float>) {
      return dx;
    } else {
      return rounded_dx;
    }
  }
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_ACTIVATIONS_H_
