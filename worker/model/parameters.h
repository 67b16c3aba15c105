// The parameter table: every tensor of the model by name, in one flat allocation. The same layout serves the gradients and the
// optimiser's moments, so that reductions, clipping, AdamW and checkpoints are loops over this table and nothing else.
//
// A rank that holds some of the experts has a table of its own: every dense tensor and the tensors of its experts, under their names in
// the whole model. The table is a row of sections; what is in one section is used and reduced alike.
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

  // Floats in one step of the first dimension.
  int64_t row_size() const { return size / shape[0]; }
};

// A stretch of the flat buffer, [begin, end) in floats. The backward pass finishes gradients in stages, from the end: stage 0 is the
// head, stage 1 the last layer, ..., the last stage the embedding and, of all layers, the small tensors.
struct Section {
  int64_t begin = 0, end = 0;
  int stage = 0;         // after which its gradients are final
  bool experts = false;  // of this rank's experts, else of all ranks
  bool product = false;  // weights of products, else read in fp32: embedding, norms, coefficients

  int64_t size() const { return end - begin; }
};

// Offsets of one layer's blocks in the flat buffer.
struct LayerOffsets {
  int64_t input_norm, post_norm;  // [D]
  int64_t qkv;                    // [3D,D]: q, k and v
  int64_t o;                      // [D,D]
  int64_t q_norm, k_norm;         // [D], -1 when dense
  int64_t router;                 // [E,D], -1 when dense
  int64_t up;                     // [E, up_width, D] of the table's experts
  int64_t down;                   // [E, D, F]
  int64_t coefficients;           // [1 or E, coefficient_count], -1 without
};

class ParameterTable {
 public:
  // With all experts.
  explicit ParameterTable(const ModelConfig& config) : ParameterTable(config, {0, config.experts}) {}
  ParameterTable(const ModelConfig& config, const ExpertShard& shard);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t total() const { return total_; }  // floats
  const ExpertShard& shard() const { return shard_; }

  int stages() const { return static_cast<int>(layers_.size()) + 2; }
  // All of the table, in its order; none is empty.
  const std::vector<Section>& sections() const { return sections_; }
  const LayerOffsets& layer(int i) const { return layers_[i]; }
  int64_t embedding() const { return embedding_; }    // [V,D]
  int64_t final_norm() const { return final_norm_; }  // [D]
  int64_t lm_head() const { return lm_head_; }        // [V,D]

  // Fills `values` [total()]. Each tensor draws from a generator of its own, seeded by (seed, name): the values do not depend on
  // which other tensors exist, so that arms of an ablation share what they have in common.
  void Initialize(uint64_t seed, const ModelConfig& config, float* values) const;

 private:
  int64_t Add(std::string name, std::vector<int64_t> shape, Init init);
  // What is added since the last section.
  void EndSection(Section section);
  void AddNorms(const ModelConfig& config, int i);
  void AddWeights(const ModelConfig& config, int i);
  void AddFfn(const ModelConfig& config, int i);
  void AddExpertCoefficients(const ModelConfig& config, int i);

  const ExpertShard shard_;
  std::vector<Parameter> parameters_;
  std::vector<LayerOffsets> layers_;
  std::vector<Section> sections_;
  int64_t total_ = 0, embedding_ = 0, final_norm_ = 0, lm_head_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_PARAMETERS_H_
