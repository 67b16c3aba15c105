// The parameter table: every tensor of the model by name, in one flat allocation. The same layout serves the gradients and the
// optimiser's moments, so that reductions, clipping, AdamW and checkpoints are loops over this table and nothing else.
//
// Names and shapes are those of Hugging Face's OlmoeForCausalLM and LlamaForCausalLM (weights [out, in]). Entries that one product reads
// lie one after another: q, k and v; the experts' weights, [experts, out, in]; and, when gated, gate_proj then up_proj of each expert,
// which together are the [2F, D] matrix that the kernels read. PolyCom coefficients, which
// those classes do not have, are model.layers.{i}.mlp.act.coef, or .mlp.experts.{j}.act.coef per expert.
#ifndef POLYMOE_WORKER_MODEL_PARAMETERS_H_
#define POLYMOE_WORKER_MODEL_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/config.h"

namespace polymoe {

enum class Init { kNormal, kOnes, kCoefficients };

struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset = 0;  // floats from the start of the flat buffer
  int64_t size = 0;    // floats
  Init init = Init::kNormal;
  bool decay = true;  // weight decay applies (all but PolyCom coefficients)
};

// Offsets of one layer's blocks in the flat buffer.
struct LayerOffsets {
  int64_t input_norm, post_norm;  // [D]
  int64_t qkv;                    // [3D,D]: q, k and v
  int64_t o;                      // [D,D]
  int64_t q_norm, k_norm;         // [D], -1 when dense
  int64_t router;                 // [E,D], -1 when dense
  int64_t up;                     // [E, up_width, D]
  int64_t down;                   // [E, D, F]
  int64_t coefficients;           // [coefficient_sets, coefficient_count], -1 without
};

class ParameterTable {
 public:
  explicit ParameterTable(const ModelConfig& config);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t total() const { return total_; }  // floats
  const LayerOffsets& layer(int i) const { return layers_[i]; }
  int64_t embedding() const { return embedding_; }    // [V,D]
  int64_t final_norm() const { return final_norm_; }  // [D]
  int64_t lm_head() const { return lm_head_; }        // [V,D]

  // Fills `values` [total()]. Each tensor draws from a generator of its own, seeded by (seed, name): the values do not depend on
  // which other tensors exist, so that arms of an ablation share what they have in common.
  void Initialize(uint64_t seed, const ModelConfig& config, float* values) const;

 private:
  int64_t Add(std::string name, std::vector<int64_t> shape, Init init);
  void AddAttention(const ModelConfig& config, const std::string& prefix, LayerOffsets& layer);
  void AddFfn(const ModelConfig& config, const std::string& prefix, LayerOffsets& layer);

  std::vector<Parameter> parameters_;
  std::vector<LayerOffsets> layers_;
  int64_t total_ = 0, embedding_ = 0, final_norm_ = 0, lm_head_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_PARAMETERS_H_
