// The two halves of a decoder layer, forward and backward. Both read and extend the residual stream:
//   attention: x_mid = x + o_proj(attention(norm(x)))        FFN: next = x_mid + ffn(norm(x_mid))
// Backward functions take the gradient of their output in Scratch::dx (and product_dx()) and turn it, in place, into that of their
// input.
#ifndef POLYMOE_WORKER_MODEL_BLOCKS_H_
#define POLYMOE_WORKER_MODEL_BLOCKS_H_

#include "kernels/ops.h"
#include "worker/model/activations.h"
#include "worker/model/config.h"
#include "worker/model/exchange.h"
#include "worker/model/parameters.h"

namespace polymoe {

// What every block needs to know about the current micro-batch. All weights lie in flat buffers of one layout, and so do gradients.
template <class Element>
struct BlockContext {
  const ModelConfig& config;
  const Ops<Element>& ops;
  const float* parameters;  // what norms, activations and the embedding read
  const Element* weights;   // what products read: the same numbers, rounded
  const float* rope;        // RopeTable
  AttentionShape shape;
  Extent extent;
  ExpertShard shard;         // that this rank holds
  ExpertExchange* exchange;  // null: all of them
  int balance_tokens;        // that a load-balance loss is taken over
  int32_t all_rows[2];       // {0, N}
  bool accumulate;           // weight gradients of products are added to what is there, instead of written

  int tokens() const { return shape.tokens(); }
  // All tokens, for a product with one weight.
  RowGroups all() const { return {1, all_rows}; }
};

// `at` says where this layer's tensors lie in the flat buffers.
template <class Element>
void AttentionForward(const BlockContext<Element>& context, const LayerOffsets& at, LayerActivations<Element>& a);
template <class Element>
void AttentionBackward(const BlockContext<Element>& context, const LayerOffsets& at, const LayerActivations<Element>& a,
                       Scratch<Element>& s, float* gradients);

// `next` [N,D] receives the layer's output; null: only what the backward pass needs.
template <class Element>
void FfnForward(const BlockContext<Element>& context, const LayerOffsets& at, LayerActivations<Element>& a, Scratch<Element>& s,
                float* next);
// The activation once more, over what FfnForward left in chunk.act, without the routing weights; no backward pass may follow.
template <class Element>
void UnweightedActivation(const BlockContext<Element>& context, const LayerOffsets& at, ExpertRows<Element>& chunk);
// `scale` as Model::ForwardBackward takes it: the router's losses are part of the objective.
template <class Element>
void FfnBackward(const BlockContext<Element>& context, const LayerOffsets& at, const LayerActivations<Element>& a,
                 Scratch<Element>& s, float scale, float* gradients);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_BLOCKS_H_
