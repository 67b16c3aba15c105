// Cross entropy, AdamW and sums over flat buffers.
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/vector.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

float SumExp(size_t n, float peak, const float* x) {
  const D d;
  const V shift = hn::Set(d, peak);
  V total = hn::Zero(d);
  const size_t lanes = hn::Lanes(d);
  size_t j = 0;
  for (; j + lanes <= n; j += lanes) total = hn::Add(total, hn::Exp(d, hn::Sub(hn::LoadU(d, x + j), shift)));
  float sum = Sum(total);
  for (; j < n; ++j) sum += std::exp(x[j] - peak);
  return sum;
}

// Loss of one row; its gradient to dlogits (may be logits) unless that is null.
float CrossEntropyRow(size_t v, const float* logits, int32_t target, float scale, float* dlogits) {
  const D d;
  float peak = logits[0];
  for (size_t j = 1; j < v; ++j) peak = peak < logits[j] ? logits[j] : peak;
  const float sum = SumExp(v, peak, logits), lse = peak + std::log(sum), loss = lse - logits[target];
  if (dlogits != nullptr) {
    const V shift = hn::Set(d, lse), s = hn::Set(d, scale);
    Map(
        v, dlogits, [&](V x) HWY_ATTR { return hn::Mul(hn::Exp(d, hn::Sub(x, shift)), s); }, logits);
    dlogits[target] -= scale;
  }
  return loss;
}

void AddBlock(size_t n, const float* x, float* y) {
  Map(
      n, y, [](V a, V b) HWY_ATTR { return hn::Add(a, b); }, y, x);
}

float SquaresBlock(size_t n, const float* x) {
  V sum = hn::Zero(D());
  Visit(
      n, [&](V v) HWY_ATTR { sum = hn::MulAdd(v, v, sum); }, x);
  return Sum(sum);
}

void AdamWBlock(size_t n, const AdamWParams& a, const float* grad, float* p, float* m, float* v) {
  const D d;
  const V b1 = hn::Set(d, a.beta1), c1 = hn::Set(d, static_cast<float>(1.0 - a.beta1)), b2 = hn::Set(d, a.beta2);
  const V c2 = hn::Set(d, static_cast<float>(1.0 - a.beta2)), scale = hn::Set(d, a.grad_scale), epsilon = hn::Set(d, a.epsilon);
  const V step = hn::Set(d, a.learning_rate / a.bias_correction1), inverse2 = hn::Set(d, 1.0f / a.bias_correction2);
  const V keep = hn::Set(d, 1.0f - a.learning_rate * a.weight_decay);
  Map(
      n, m, [&](V old, V g) HWY_ATTR { return hn::MulAdd(b1, old, hn::Mul(c1, hn::Mul(g, scale))); }, m, grad);
  Map(
      n, v,
      [&](V old, V g) HWY_ATTR {
        const V scaled = hn::Mul(g, scale);
        return hn::MulAdd(b2, old, hn::Mul(c2, hn::Mul(scaled, scaled)));
      },
      v, grad);
  Map(
      n, p,
      [&](V old, V first, V second) HWY_ATTR {
        const V divisor = hn::Add(hn::Sqrt(hn::Mul(second, inverse2)), epsilon);
        return hn::Sub(hn::Mul(old, keep), hn::Div(hn::Mul(step, first), divisor));
      },
      p, m, v);
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(CrossEntropyRow);
HWY_EXPORT(AddBlock);
HWY_EXPORT(SquaresBlock);
HWY_EXPORT(AdamWBlock);

namespace cpu {
namespace {

constexpr int64_t kBlock = 8192;  // floats: fits a block of each of AdamW's four arrays into L2

}  // namespace

void CrossEntropy(int n, int v, const float* logits, const int32_t* targets, float scale, float* losses, float* dlogits) {
  const auto row = HWY_DYNAMIC_DISPATCH(CrossEntropyRow);
  ParallelFor(
      n, [&](int64_t i) { losses[i] = row(v, logits + i * v, targets[i], scale, dlogits == nullptr ? nullptr : dlogits + i * v); });
}

void Add(int64_t n, const float* x, float* y) {
  const auto block = HWY_DYNAMIC_DISPATCH(AddBlock);
  ParallelBlocks(n, kBlock, [&](int64_t begin, int64_t end) { block(end - begin, x + begin, y + begin); });
}

double SumSquares(int64_t n, const float* x) {
  const auto block = HWY_DYNAMIC_DISPATCH(SquaresBlock);
  // 512 floats are summed in fp32 lanes, the blocks in fp64 and in order.
  constexpr int64_t kSum = 512;
  const int64_t blocks = (n + kSum - 1) / kSum;
  float* partial = ThreadScratch<float>(blocks);
  ParallelBlocks(n, kSum, [&](int64_t begin, int64_t end) { partial[begin / kSum] = block(end - begin, x + begin); });
  double sum = 0;
  for (int64_t i = 0; i < blocks; ++i) sum += partial[i];
  return sum;
}

void AdamW(int64_t n, const AdamWParams& params, const float* grad, float* p, float* m, float* v) {
  const auto block = HWY_DYNAMIC_DISPATCH(AdamWBlock);
  ParallelBlocks(n, kBlock,
                 [&](int64_t begin, int64_t end) { block(end - begin, params, grad + begin, p + begin, m + begin, v + begin); });
}

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
