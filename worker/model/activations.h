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

// Sizes that the buffers follow from.
struct Extent {
  int64_t tokens;  // N of the largest micro-batch
  int64_t length;  // T
  int64_t groups;  // of sequences with a load-balance loss of their own
  int ranks;       // that share the experts of a layer
  int experts;     // that this rank holds
  int chunks;      // that the tokens of a micro-batch travel in; 1 where they do not

  int64_t chunk_tokens() const { return (tokens + chunks - 1) / chunks; }
};

// What one chunk of a micro-batch's tokens is to the FFN block. Alone, a rank has one chunk, all of whose rows are its own; with others, the
// expert side has the rows that came from all of them (at most all tokens of all ranks; about as many rows as it has routed).
// Q rows came, R ranks share the experts, e of which are here.
template <class Element>
struct ExpertRows {
  int index = 0;
  int begin = 0, end = 0;  // tokens of the micro-batch, on the home side
  int received = 0;        // Q
  int sent_count = 0;
  // What the experts read: the layer's own rows, or those that came.
  const Element* x = nullptr;        // [Q,D]
  const int32_t* experts = nullptr;  // [Q,K]
  const float* weights = nullptr;    // [Q,K]
  int32_t* offsets = nullptr;        // [e+1] rows of each expert; {0, N} when dense
  int32_t* tokens_of = nullptr;      // [M] row of x; null when dense
  int32_t* source = nullptr;         // [M]
  int32_t* inverse = nullptr;        // [Q,K]
  Element* up = nullptr;             // [M,U]
  Element* act = nullptr;            // [M,F]
  // Only with other ranks.
  Element* x_received = nullptr;
  int32_t* experts_received = nullptr;
  float* weights_received = nullptr;
  int32_t* sent = nullptr;                                                     // tokens, by the rank they go to
  int32_t* slots = nullptr;                                                    // [tokens, R] index in `sent`, -1: not sent there
  int64_t *send_counts = nullptr, *receive_counts = nullptr, *ones = nullptr;  // [R]

  int tokens() const { return end - begin; }
  RowGroups groups(const Extent& extent) const { return {extent.experts, offsets}; }
  RowWeights row_weights() const { return {weights, source}; }

  void Place(const ModelConfig& c, const Extent& extent, Arena::Cutter& cut) {
    const int64_t n = extent.chunk_tokens(), q = n * extent.ranks, m = q * std::min(c.top_k, extent.experts), used = n * c.top_k;
    cut(offsets, extent.experts + 1);
    cut.Reserve(up, m * c.up_width(), used * c.up_width());
    cut.Reserve(act, m * c.ffn, used * c.ffn);
    if (!c.moe) return;
    cut.Reserve(tokens_of, m, used);
    cut.Reserve(source, m, used);
    cut(inverse, q * c.top_k);
    if (extent.ranks == 1) return;
    const int64_t rows = n * std::min(extent.ranks, c.top_k);
    cut.Reserve(x_received, q * c.hidden, rows * c.hidden);
    cut(experts_received, q * c.top_k);
    cut(weights_received, q * c.top_k);
    cut(sent, q);
    cut(slots, q);
    cut(send_counts, extent.ranks);
    cut(receive_counts, extent.ranks);
    cut(ones, extent.ranks);
  }
};

// Buffers of a chunk that is on its way; only with other ranks. S rows are sent.
template <class Element>
struct Wire {
  Element* home = nullptr;              // [S,D] rows as they go out, later as they come back
  Element* partial = nullptr;           // [Q,D] sums over the experts of this rank
  Element* dy = nullptr;                // [Q,D] gradients of these sums
  int32_t* routing_sent = nullptr;      // [S,2K]
  int32_t* routing_received = nullptr;  // [Q,2K]
  float* dweights = nullptr;            // [Q,K]
  float* dweights_home = nullptr;       // [S,K]

  void Place(const ModelConfig& c, const Extent& extent, Arena::Cutter& cut) {
    const int64_t n = extent.chunk_tokens(), q = n * extent.ranks, rows = n * std::min(extent.ranks, c.top_k);
    for (Element** piece : {&home, &partial, &dy}) cut.Reserve(*piece, q * c.hidden, rows * c.hidden);
    for (int32_t** piece : {&routing_sent, &routing_received}) cut.Reserve(*piece, q * 2 * c.top_k, rows * 2 * c.top_k);
    for (float** piece : {&dweights, &dweights_home}) cut.Reserve(*piece, q * c.top_k, rows * c.top_k);
  }
};

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
  std::vector<ExpertRows<Element>> chunks;
  // The routing: null when dense.
  float* probs = nullptr;       // [N,E]
  float* weights = nullptr;     // [N,K]
  float* router_lse = nullptr;  // [N]
  int32_t* experts = nullptr;   // [N,K]
  int32_t* counts = nullptr;    // [groups,E]

  // All but x.
  void Place(const ModelConfig& c, const Extent& extent, Arena::Cutter& cut) {
    const int64_t n = extent.tokens, d = c.hidden;
    cut(h1, n * d);
    cut(rstd1, n);
    cut(qkv, n * 3 * d);
    cut(qk, n * 2 * d);
    cut(attention, n * d);
    cut(lse, n * c.heads);
    cut(x_mid, n * d);
    cut(h2, n * d);
    cut(rstd2, n);
    if (c.moe) {
      cut(rstd_qk, n * 2);
      cut(probs, n * c.experts);
      cut(weights, n * c.top_k);
      cut(router_lse, n);
      cut(experts, n * c.top_k);
      cut(counts, extent.groups * c.experts);
    }
    chunks.resize(extent.chunks);
    for (int i = 0; i < extent.chunks; ++i) {
      ExpertRows<Element>& chunk = chunks[i];
      chunk.index = i;
      chunk.Place(c, extent, cut);
      const bool alone = extent.ranks == 1;
      chunk.x = alone ? h2 : chunk.x_received;
      chunk.experts = alone ? experts : chunk.experts_received;
      chunk.weights = alone ? weights : chunk.weights_received;
    }
  }
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
  std::vector<double> router_sums;    // [groups,E+2] as router_forward gives them
  std::vector<Wire<Element>> wires;   // one a chunk

  void Place(const ModelConfig& c, const Extent& extent, Arena::Cutter& cut) {
    const int64_t n = extent.tokens, d = c.hidden, logit_rows = std::min<int64_t>(n, kLogitRows);
    // Routed rows of one chunk: how many there is room for, and how many there are about.
    const int64_t m = extent.chunk_tokens() * extent.ranks * std::min(c.top_k, extent.experts),
                  used = extent.chunk_tokens() * c.top_k;
    cut(dx, n * d);
    cut(dh, n * d);
    if constexpr (!std::is_same_v<Element, float>) cut(rounded_dx, n * d);
    cut(dattention, n * d);
    cut(dqkv, n * 3 * d);
    cut.Reserve(dact, m * c.ffn, used * c.ffn);
    cut.Reserve(dup, m * c.up_width(), used * c.up_width());
    cut(rope, extent.length * c.head_dim());
    cut(last, n * d);
    cut(hidden, n * d);
    cut(rstd, n);
    cut(losses, n);
    cut(logits, logit_rows * c.vocab);
    cut(dlogits, logit_rows * c.vocab);
    if (!c.moe) return;
    cut.Reserve(rows, m * d, used * d);
    cut(router_logits, n * c.experts);
    cut(drouter_logits, n * c.experts);
    cut(dweights, n * c.top_k);
    router_sums.resize(extent.groups * (c.experts + 2));
    if (extent.ranks == 1) return;
    wires.resize(extent.chunks);
    for (Wire<Element>& wire : wires) wire.Place(c, extent, cut);
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
