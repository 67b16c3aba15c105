// The table over the plain loops.
#include "kernels/ops.h"
#include "kernels/ref/activation.h"
#include "kernels/ref/attention.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/loss.h"
#include "kernels/ref/norm.h"
#include "kernels/ref/router.h"

namespace polymoe {

template <class E>
const Ops<E>& RefOps() {
  static const Ops<E> ops = {
      .name = "ref",
      .linear = ref::Linear<E>,
      .linear_fp32 = ref::LinearFp32<float, E>,
      .linear_backward_input = ref::LinearBackwardInput<E>,
      .linear_backward_input_fp32 = ref::LinearBackwardInputFp32<float, E>,
      .linear_backward_weight = ref::LinearBackwardWeight<float, E>,
      .embedding_forward = ref::EmbeddingForward<float>,
      .embedding_backward = ref::EmbeddingBackward<float>,
      .rmsnorm_forward = ref::RmsNormForward<float, E>,
      .rmsnorm_backward = ref::RmsNormBackward<float, E>,
      .qk_forward = ref::QkForward<float, E>,
      .qk_backward = ref::QkBackward<float, E>,
      .attention_forward = ref::AttentionForward<float, E>,
      .attention_backward = ref::AttentionBackward<float, E>,
      .router_forward = ref::RouterForward<float>,
      .router_backward = ref::RouterBackward<float, E>,
      .dispatch_plan = ref::DispatchPlan,
      .gather = ref::Gather<E>,
      .combine = ref::Combine<float, E, float>,
      .combine_rows = ref::CombineRows<E>,
      .activation_forward = ref::ActivationForward<float, E>,
      .activation_backward = ref::ActivationBackward<float, E>,
      .cross_entropy = ref::CrossEntropy<float, E>,
      .round = ref::Round<float>,
      .sum_squares = ref::SumSquares<float>,
      .adamw = ref::AdamW<float>,
  };
  return ops;
}

template const Ops<float>& RefOps<float>();
template const Ops<BF16>& RefOps<BF16>();

}  // namespace polymoe
