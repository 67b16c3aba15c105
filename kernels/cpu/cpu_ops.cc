// The table over oneDNN and Highway. Two operations have no work that threads or vectors would speed up and use the plain loops.
#include "kernels/cpu/cpu_ops.h"

#include "kernels/ops.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/router.h"

namespace polymoe {

const Ops& CpuOps() {
  static const Ops ops = {
      .name = "cpu",
      .linear_forward = cpu::LinearForward,
      .linear_backward_input = cpu::LinearBackwardInput,
      .linear_backward_weight = cpu::LinearBackwardWeight,
      .grouped_linear_forward = cpu::GroupedLinearForward,
      .grouped_linear_backward_input = cpu::GroupedLinearBackwardInput,
      .grouped_linear_backward_weight = cpu::GroupedLinearBackwardWeight,
      .embedding_forward = cpu::EmbeddingForward,
      .embedding_backward = ref::EmbeddingBackward<float>,
      .rmsnorm_forward = cpu::RmsNormForward,
      .rmsnorm_backward = cpu::RmsNormBackward,
      .rope = cpu::Rope,
      .attention_forward = cpu::AttentionForward,
      .attention_backward = cpu::AttentionBackward,
      .router_forward = cpu::RouterForward,
      .router_backward = cpu::RouterBackward,
      .dispatch_plan = ref::DispatchPlan,
      .dispatch = cpu::Dispatch,
      .dispatch_backward = cpu::DispatchBackward,
      .combine = cpu::Combine,
      .combine_backward = cpu::CombineBackward,
      .activation_forward = cpu::ActivationForward,
      .activation_backward = cpu::ActivationBackward,
      .cross_entropy = cpu::CrossEntropy,
      .add = cpu::Add,
      .sum_squares = cpu::SumSquares,
      .adamw = cpu::AdamW,
  };
  return ops;
}

}  // namespace polymoe
