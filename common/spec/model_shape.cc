#include "common/spec/model_shape.h"

#include "polymoe/v1/job_spec.pb.h"

namespace polymoe {
namespace {

// Floats in one set of PolyCom coefficients, as kernels/ops.h lays them out.
uint64_t CoefficientCount(const v1::ActivationSpec& activation) {
  switch (activation.kind()) {
    case v1::ACTIVATION_KIND_POLYRELU:
    case v1::ACTIVATION_KIND_POLYNORM:
    case v1::ACTIVATION_KIND_POLYRELUNORM:
      return activation.order() + 1;
    case v1::ACTIVATION_KIND_POLYPRELU:
      return activation.order() + 2;
    default:
      return 0;
  }
}

}  // namespace

bool IsGated(const v1::ModelSpec& model) {
  return model.activation().kind() == v1::ACTIVATION_KIND_SWIGLU;
}

uint32_t FfnWidth(const v1::ModelSpec& model) {
  if (model.match() != v1::WIDTH_MATCH_PARAMETERS || !IsGated(model)) return model.ffn();
  return (2 * model.ffn() + 1) / 3;  // nearest: the remainder of 2 * ffn / 3 is 0, 1 (down) or 2 (up)
}

ModelShape ComputeShape(const v1::ModelSpec& model, uint32_t sequence_length) {
  const bool moe = model.architecture() == v1::ARCHITECTURE_MOE;
  const uint64_t layers = model.layers(), d = model.hidden(), v = model.vocab();
  const uint64_t experts = moe ? model.experts() : 1, top_k = moe ? model.top_k() : 1;
  const uint64_t ffn = (IsGated(model) ? 3 : 2) * d * FfnWidth(model);
  const bool per_expert = model.activation().coefficients() == v1::COEFFICIENT_SCOPE_EXPERT;
  const uint64_t coefficients = layers * CoefficientCount(model.activation());
  const uint64_t norms = layers * (moe ? 4 : 2) * d + d;  // two a layer, QK norm (moe), the final one

  ModelShape shape;
  shape.groups = {
      {"embedding", v * d, v * d},
      {"attention", layers * 4 * d * d, layers * 4 * d * d},
      {"norms", norms, norms},
      {"router", moe ? layers * experts * d : 0, moe ? layers * experts * d : 0},
      {"experts", layers * experts * ffn, layers * top_k * ffn},
      {"coefficients", coefficients * (per_expert ? experts : 1), coefficients * (per_expert ? top_k : 1)},
      {"head", v * d, v * d},
  };
  for (const ParameterGroup& group : shape.groups) {
    shape.total += group.total;
    shape.active += group.active;
  }
  shape.flops_per_token = 6.0 * static_cast<double>(shape.active - v * d) + 6.0 * static_cast<double>(layers * sequence_length * d);
  return shape;
}

}  // namespace polymoe
