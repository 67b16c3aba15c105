// The table over the plain loops.
#include "kernels/ops.h"
#include "kernels/ref/activation.h"
#include "kernels/ref/attention.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/loss.h"
#include "kernels/ref/norm.h"
#include "kernels/ref/router.h"

namespace polymoe {

const Ops& RefOps() {
  static const Ops ops = {
      .name = "ref",
      .linear_forward = ref::LinearForward<float>,
      .linear_backward_input = ref::LinearBackwardInput<float>,
      .linear_backward_weight = ref::LinearBackwardWeight<float>,
      .grouped_linear_forward = ref::GroupedLinearForward<float>,
      .grouped_linear_backward_input = ref::GroupedLinearBackwardInput<float>,
      .grouped_linear_backward_weight = ref::GroupedLinearBackwardWeight<float>,
      .embedding_forward = ref::EmbeddingForward<float>,
      .embedding_backward = ref::EmbeddingBackward<float>,
      .rmsnorm_forward = ref::RmsNormForward<float>,
      .rmsnorm_backward = ref::RmsNormBackward<float>,
      .rope = ref::Rope<float>,
      .attention_forward = ref::AttentionForward<float>,
      .attention_backward = ref::AttentionBackward<float>,
      .router_forward = ref::RouterForward<float>,
      .router_backward = ref::RouterBackward<float>,
      .dispatch_plan = ref::DispatchPlan,
      .dispatch = ref::Dispatch<float>,
      .dispatch_backward = ref::DispatchBackward<float>,
      .combine = ref::Combine<float>,
      .combine_backward = ref::CombineBackward<float>,
      .activation_forward = ref::ActivationForward<float>,
      .activation_backward = ref::ActivationBackward<float>,
      .cross_entropy = ref::CrossEntropy<float>,
      .add = ref::Add<float>,
      .sum_squares = ref::SumSquares<float>,
      .adamw = ref::AdamW<float>,
  };
  return ops;
}

}  // namespace polymoe
