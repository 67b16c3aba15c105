// Cross entropy, AdamW and other work on flat buffers.
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/vector.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

// The largest of x[0, n), n > 0, NaN aside.
HWY_INLINE float Largest(size_t n, const float* x) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  if (n < lanes) return *std::max_element(x, x + n);
  V peak = hn::LoadU(d, x);
  for (size_t j = lanes; j + lanes <= n; j += lanes) peak = hn::Max(peak, hn::LoadU(d, x + j));
  peak = hn::Max(peak, hn::LoadU(d, x + n - lanes));  // some for the second time
  return hn::GetLane(hn::MaxOfLanes(d, peak));
}

// Sum of exp(x - peak)
HWY_INLINE float SumExp(size_t n, float peak, const float* x) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const V shift = hn::Set(d, peak);
  V total = hn::Zero(d);
  size_t j = 0;
  for (; j + lanes <= n; j += lanes) total = hn::Add(total, Exp(hn::Sub(hn::LoadU(d, x + j), shift)));
  float sum = Sum(total);
  for (; j < n; ++j) sum += std::exp(x[j] - peak);
  return sum;
}

// Log-sum-exp in blocks that stay in L1, so that the row comes from memory once.
HWY_INLINE float LogSumExp(size_t n, const float* x) {
  constexpr size_t kBlock = 2048;
  float peak = x[0], sum = 0;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t size = n - begin < kBlock ? n - begin : kBlock;
    const float higher = std::fmax(peak, Largest(size, x + begin));
    if (higher > peak) {
      sum *= std::exp(peak - higher);
      peak = higher;
    }
    sum += SumExp(size, peak, x + begin);
  }
  return peak + std::log(sum);
}

template <class E>
float CrossEntropyRow(size_t v, const float* logits, int32_t target, float scale, E* dlogits) {
  const float lse = LogSumExp(v, logits), loss = lse - logits[target];
  if (dlogits != nullptr) {
    const V shift = hn::Set(D(), lse), s = hn::Set(D(), scale);
    Map(
        v, dlogits, [&](V x) HWY_ATTR { return hn::Mul(Exp(hn::Sub(x, shift)), s); }, logits);
    dlogits[target] = static_cast<E>(std::expm1(-loss) * scale);
  }
  return loss;
}

void RoundBlock(size_t n, const float* x, BF16* y) {
  Map(
      n, y, [](V v) HWY_ATTR { return v; }, x);
}

// In four sums, since one would wait for itself.
float SquaresBlock(size_t n, const float* x) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  size_t j = 0;
  for (; j + 4 * lanes <= n; j += 4 * lanes) {
    const V a = hn::LoadU(d, x + j), b = hn::LoadU(d, x + j + lanes), c = hn::LoadU(d, x + j + 2 * lanes),
            e = hn::LoadU(d, x + j + 3 * lanes);
    s0 = hn::MulAdd(a, a, s0), s1 = hn::MulAdd(b, b, s1), s2 = hn::MulAdd(c, c, s2), s3 = hn::MulAdd(e, e, s3);
  }
  Visit(
      n - j, [&](V v) HWY_ATTR { s0 = hn::MulAdd(v, v, s0); }, x + j);
  return Sum(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

void AdamWBlock(size_t n, const AdamWParams& a, const float* grad, float* p, float* m, float* v, BF16* rounded) {
  const D d;
  const V b1 = hn::Set(d, a.beta1), c1 = hn::Set(d, static_cast<float>(1.0 - a.beta1)), b2 = hn::Set(d, a.beta2);
  const V c2 = hn::Set(d, static_cast<float>(1.0 - a.beta2)), scale = hn::Set(d, a.grad_scale), epsilon = hn::Set(d, a.epsilon);
  const V step = hn::Set(d, a.learning_rate / a.bias_correction1), inverse2 = hn::Set(d, 1.0f / a.bias_correction2);
  const V keep = hn::Set(d, 1.0f - a.learning_rate * a.weight_decay);
  ForVectors(n, [&](auto lanes, size_t j) HWY_ATTR {
    const V g = hn::Mul(lanes.Load(grad + j), scale);
    const V first = hn::MulAdd(b1, lanes.Load(m + j), hn::Mul(c1, g));
    const V second = hn::MulAdd(b2, lanes.Load(v + j), hn::Mul(c2, hn::Mul(g, g)));
    const V divisor = hn::Add(hn::Sqrt(hn::Mul(second, inverse2)), epsilon);
    const V updated = hn::Sub(hn::Mul(lanes.Load(p + j), keep), hn::Div(hn::Mul(step, first), divisor));
    lanes.Store(first, m + j);
    lanes.Store(second, v + j);
    lanes.Store(updated, p + j);
    if (rounded != nullptr) lanes.Store(updated, rounded + j);
  });
}

template <class E>
cpu::VectorRows<E> VectorRowsOf() {
  return {CrossEntropyRow<E>, RoundBlock, SquaresBlock, AdamWBlock};
}

cpu::BothRows<cpu::VectorRows> VectorTables() {
  return {VectorRowsOf<float>(), VectorRowsOf<BF16>()};
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(VectorTables);

namespace cpu {
namespace {

constexpr int64_t kBlock = 8192;  // floats of a task

template <class E>
VectorRows<E> RowsFor() {
  return std::get<VectorRows<E>>(HWY_DYNAMIC_DISPATCH(VectorTables)());
}

}  // namespace

template <class E>
void CrossEntropy(int n, int v, const float* logits, const int32_t* targets, float scale, float* losses, E* dlogits) {
  const auto row = RowsFor<E>().cross_entropy;
  ParallelFor(
      n, [&](int64_t i) { losses[i] = row(v, logits + i * v, targets[i], scale, dlogits == nullptr ? nullptr : dlogits + i * v); });
}

void Round(int64_t n, const float* x, BF16* y) {
  const auto block = RowsFor<float>().round;
  ParallelBlocks(n, kBlock, [&](int64_t begin, int64_t end) { block(end - begin, x + begin, y + begin); });
}

double SumSquares(int64_t n, const float* x) {
  const auto block = RowsFor<float>().squares;
  // This many are summed in fp32 lanes, the blocks in fp64 and in order.
  constexpr int64_t kSum = 2048;
  const int64_t blocks = (n + kSum - 1) / kSum;
  float* partial = ThreadScratch<float>(blocks);
  ParallelBlocks(n, kSum, [&](int64_t begin, int64_t end) { partial[begin / kSum] = block(end - begin, x + begin); });
  double sum = 0;
  for (int64_t i = 0; i < blocks; ++i) sum += partial[i];
  return sum;
}

void AdamW(int64_t n, const AdamWParams& params, const float* grad, float* p, float* m, float* v, BF16* rounded) {
  const auto block = RowsFor<float>().adamw;
  ParallelBlocks(n, kBlock, [&](int64_t begin, int64_t end) {
    block(end - begin, params, grad + begin, p + begin, m + begin, v + begin, rounded == nullptr ? nullptr : rounded + begin);
  });
}

template decltype(CrossEntropy<float>) CrossEntropy<float>;
template decltype(CrossEntropy<BF16>) CrossEntropy<BF16>;

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
