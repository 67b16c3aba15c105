// The table of the fast functions. One operation has no work that threads or vectors would speed up and uses the plain loops.
#include "kernels/cpu/cpu_ops.h"

#include <type_traits>

#include "common/check.h"
#include "kernels/ops.h"
#include "kernels/ref/router.h"

namespace polymoe {

template <class E>
const Ops<E>& CpuOps() {
  if (std::is_same_v<E, BF16>) POLYMOE_CHECK(CpuHasBf16(), "this CPU has no AVX512_BF16");
  static const Ops<E> ops = {
      .name = "cpu",
      .linear = cpu::Linear<E>,
      .linear_fp32 = cpu::LinearFp32<E>,
      .linear_backward_input = cpu::LinearBackwardInput<E>,
      .linear_backward_input_fp32 = cpu::LinearBackwardInputFp32<E>,
      .linear_backward_weight = cpu::LinearBackwardWeight<E>,
      .embedding_forward = cpu::EmbeddingForward,
      .embedding_backward = cpu::EmbeddingBackward,
      .rmsnorm_forward = cpu::RmsNormForward<E>,
      .rmsnorm_backward = cpu::RmsNormBackward<E>,
      .qk_forward = cpu::QkForward<E>,
      .qk_backward = cpu::QkBackward<E>,
      .attention_forward = cpu::AttentionForward<E>,
      .attention_backward = cpu::AttentionBackward<E>,
      .router_forward = cpu::RouterForward,
      .router_backward = cpu::RouterBackward<E>,
      .dispatch_plan = ref::DispatchPlan,
      .gather = cpu::Gather<E>,
      .combine = cpu::Combine<E>,
      .combine_rows = cpu::CombineRows<E>,
      .activation_forward = cpu::ActivationForward<E>,
      .activation_backward = cpu::ActivationBackward<E>,
      .cross_entropy = cpu::CrossEntropy<E>,
      .round = cpu::Round,
      .sum_squares = cpu::SumSquares,
      .adamw = cpu::AdamW,
  };
  return ops;
}

template const Ops<float>& CpuOps<float>();
template const Ops<BF16>& CpuOps<BF16>();

}  // namespace polymoe
