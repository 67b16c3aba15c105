#include "worker/model/parameters.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/check.h"

namespace polymoe {
namespace {

// SplitMix64 (Steele, Lea & Flood 2014): 64 random bits a call.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // Uniform in (-1, 1).
  double Uniform() { return (static_cast<double>(Next() >> 11) + 0.5) * 0x1p-52 - 1.0; }

  // Standard normal by the polar method, drawn again beyond 3 sigma.
  double TruncatedNormal() {
    for (;;) {
      const double a = Uniform(), b = Uniform(), s = a * a + b * b;
      if (s >= 1 || s == 0) continue;
      const double z = a * std::sqrt(-2 * std::log(s) / s);
      if (std::abs(z) <= 3) return z;
    }
  }

 private:
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

// FNV-1a over the name, started from the seed.
uint64_t StreamSeed(uint64_t seed, const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325 ^ (seed * 0x9e3779b97f4a7c15);
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string LayerPrefix(int i) {
  return absl::StrCat("model.layers.", i, ".");
}

std::string ExpertPrefix(int i, int expert) {
  return absl::StrCat(LayerPrefix(i), "mlp.experts.", expert, ".");
}

}  // namespace

int64_t ParameterTable::Add(std::string name, std::vector<int64_t> shape, Init init) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  const int64_t offset = total_;
  parameters_.push_back({std::move(name), std::move(shape), offset, size, init, init != Init::kCoefficients});
  total_ += size;
  return offset;
}

void ParameterTable::EndSection(Section section) {
  section.begin = sections_.empty() ? 0 : sections_.back().end;
  section.end = total_;
  if (section.size() > 0) sections_.push_back(section);
}

// Norms, and coefficients that all experts share.
void ParameterTable::AddNorms(const ModelConfig& c, int i) {
  const int64_t d = c.hidden;
  const std::string prefix = LayerPrefix(i);
  LayerOffsets& layer = layers_[i];
  layer.input_norm = Add(prefix + "input_layernorm.weight", {d}, Init::kOnes);
  layer.q_norm = c.moe ? Add(prefix + "self_attn.q_norm.weight", {d}, Init::kOnes) : -1;
  layer.k_norm = c.moe ? Add(prefix + "self_attn.k_norm.weight", {d}, Init::kOnes) : -1;
  layer.post_norm = Add(prefix + "post_attention_layernorm.weight", {d}, Init::kOnes);
  layer.coefficients = -1;
  if (c.activation.has_coefficients() && c.coefficient_sets() == 1) {
    layer.coefficients = Add(prefix + "mlp.act.coef", {c.activation.coefficient_count()}, Init::kCoefficients);
  }
}

// Of attention and router; of the FFN when dense.
void ParameterTable::AddWeights(const ModelConfig& c, int i) {
  const int64_t d = c.hidden;
  const std::string prefix = LayerPrefix(i);
  LayerOffsets& layer = layers_[i];
  layer.qkv = Add(prefix + "self_attn.q_proj.weight", {d, d}, Init::kNormal);
  Add(prefix + "self_attn.k_proj.weight", {d, d}, Init::kNormal);
  Add(prefix + "self_attn.v_proj.weight", {d, d}, Init::kNormal);
  layer.o = Add(prefix + "self_attn.o_proj.weight", {d, d}, Init::kNormal);
  layer.router = c.moe ? Add(prefix + "mlp.gate.weight", {c.experts, d}, Init::kNormal) : -1;
  if (!c.moe) AddFfn(c, i);
}

// The FFN of a dense layer, or the experts of this rank.
void ParameterTable::AddFfn(const ModelConfig& c, int i) {
  const int64_t d = c.hidden, f = c.ffn;
  LayerOffsets& layer = layers_[i];
  const auto prefix = [&](int e) { return c.moe ? ExpertPrefix(i, e) : LayerPrefix(i) + "mlp."; };
  const int begin = shard_.first, end = shard_.first + shard_.count;
  layer.up = total_;
  for (int e = begin; e < end; ++e) {
    if (c.activation.gated()) Add(prefix(e) + "gate_proj.weight", {f, d}, Init::kNormal);
    Add(prefix(e) + "up_proj.weight", {f, d}, Init::kNormal);
  }
  layer.down = total_;
  for (int e = begin; e < end; ++e) Add(prefix(e) + "down_proj.weight", {d, f}, Init::kNormal);
}

void ParameterTable::AddExpertCoefficients(const ModelConfig& c, int i) {
  if (c.coefficient_sets() == 1 || !c.activation.has_coefficients()) return;
  layers_[i].coefficients = total_;
  for (int e = shard_.first; e < shard_.first + shard_.count; ++e) {
    Add(ExpertPrefix(i, e) + "act.coef", {c.activation.coefficient_count()}, Init::kCoefficients);
  }
}

ParameterTable::ParameterTable(const ModelConfig& config, const ExpertShard& shard) : shard_(shard), layers_(config.layers) {
  POLYMOE_CHECK(config.moe || (config.experts == 1 && config.top_k == 1), "a dense model has one expert, not %d", config.experts);
  const int last = stages() - 1;
  const auto stage_of = [&](int layer) { return last - 1 - layer; };
  embedding_ = Add("model.embed_tokens.weight", {config.vocab, config.hidden}, Init::kNormal);
  for (int i = 0; i < config.layers; ++i) AddNorms(config, i);
  final_norm_ = Add("model.norm.weight", {config.hidden}, Init::kOnes);
  EndSection({.stage = last});
  for (int i = 0; i < config.layers; ++i) {
    AddWeights(config, i);
    EndSection({.stage = stage_of(i), .product = true});
  }
  lm_head_ = Add("lm_head.weight", {config.vocab, config.hidden}, Init::kNormal);
  EndSection({.stage = 0, .product = true});
  for (int i = 0; config.moe && i < config.layers; ++i) {
    AddFfn(config, i);
    EndSection({.stage = stage_of(i), .experts = true, .product = true});
  }
  for (int i = 0; i < config.layers; ++i) AddExpertCoefficients(config, i);
  EndSection({.stage = last, .experts = true});
}

void ParameterTable::Initialize(uint64_t seed, const ModelConfig& config, float* values) const {
  for (const Parameter& p : parameters_) {
    float* tensor = values + p.offset;
    switch (p.init) {
      case Init::kOnes:
        for (int64_t i = 0; i < p.size; ++i) tensor[i] = 1;
        break;
      case Init::kNormal: {
        Random random(StreamSeed(seed, p.name));
        for (int64_t i = 0; i < p.size; ++i) tensor[i] = static_cast<float>(config.init_std * random.TruncatedNormal());
        break;
      }
      case Init::kCoefficients:
        for (int i = 0; i < config.activation.order; ++i) tensor[i] = 1.0f / static_cast<float>(config.activation.order);
        tensor[config.activation.order] = 0;
        if (config.activation.kind == ActivationKind::kPolyPRelu) tensor[config.activation.order + 1] = 0.25f;
        break;
    }
  }
}

}  // namespace polymoe
