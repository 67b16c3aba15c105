// The two halves of a decoder layer, forward and backward. Both read and extend the residual stream:
//   attention: x_mid = x + o_proj(attention(norm(x)))        FFN: next = x_mid + ffn(norm(x_mid))
// Backward functions take the gradient of their output in `dx` [N,D] and turn it, in place, into that of their input.
#ifndef POLYMOE_WORKER_MODEL_BLOCKS_H_
#define POLYMOE_WORKER_MODEL_BLOCKS_H_

#include "kernels/ops.h"
#include "worker/model/activations.h"
#include "worker/model/config.h"
#include "worker/model/parameters.h"

namespace polymoe {

// What every block needs to know about the current micro-batch.
struct BlockContext {
  const ModelConfig& config;
  const Ops& ops;
  int sequences;  // B
  int length;     // T
  int tokens() const { return sequences * length; }
};

// Weights and their gradients are flat buffers; `at` says where this layer's tensors lie in both.
void AttentionForward(const BlockContext& context, const LayerOffsets& at, const float* parameters, LayerActivations& a);
void AttentionBackward(const BlockContext& context, const LayerOffsets& at, const float* parameters, const LayerActivations& a,
                       Scratch& s, float* dx, float* gradients);

// `next` [N,D] receives the layer's output.
void FfnForward(const BlockContext& context, const LayerOffsets& at, const float* parameters, LayerActivations& a, Scratch& s,
                float* next);
// `scale` as Model::ForwardBackward takes it: the router's losses are part of the objective.
void FfnBackward(const BlockContext& context, const LayerOffsets& at, const float* parameters, const LayerActivations& a,
                 Scratch& s, float scale, float* dx, float* gradients);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_BLOCKS_H_
