// Counts of a model: parameters, active parameters, FLOPs. Used by `polyctl params`, by the trainer's FLOP/s metric and by width
// matching.
#ifndef POLYMOE_COMMON_SPEC_MODEL_SHAPE_H_
#define POLYMOE_COMMON_SPEC_MODEL_SHAPE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace polymoe {

namespace v1 {
class ModelSpec;
}

// Whether the activation multiplies two halves of the up projection, which is twice as wide then.
bool IsGated(const v1::ModelSpec& model);

// Hidden width of one FFN after `match`: a gated activation has three matrices instead of two, so with match: parameters it gets
// 2/3 of `ffn`, rounded to the nearest integer (arXiv 2411.03884 uses 8256 against 5504, 1536 against 1024).
uint32_t FfnWidth(const v1::ModelSpec& model);

struct ParameterGroup {
  std::string name;  // "embedding", "attention", "norms", "router", "experts", "coefficients", "head"
  uint64_t total = 0;
  uint64_t active = 0;  // used by one token
};

struct ModelShape {
  std::vector<ParameterGroup> groups;
  uint64_t total = 0;
  uint64_t active = 0;
  // Training FLOPs a token: 6 x (active parameters without the embedding, which is a look-up) + 6 x layers x sequence x hidden for
  // causal attention (half of the T x T products, forward and backward).
  double flops_per_token = 0;
};

ModelShape ComputeShape(const v1::ModelSpec& model, uint32_t sequence_length);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_MODEL_SHAPE_H_
