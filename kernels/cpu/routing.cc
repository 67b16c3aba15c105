// Embedding, router, and the way of rows from experts back to their tokens.
#include <cmath>
#include <cstring>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

// Everything below is compiled once a target; the order of these lines matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/routing.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace polymoe::HWY_NAMESPACE {

cpu::RouterRow RouterForwardRow(size_t e, float peak, const float* logits, float* probs) {
  const V shift = hn::Set(D(), peak);
  Map(
      e, probs, [&](V x) HWY_ATTR { return Exp(hn::Sub(x, shift)); }, logits);
  // Of the stored exponentials, 0 in absent lanes: sum and, for the entropy, sum of exp(d) * d with d = logit - peak.
  V sums = hn::Zero(D()), products = sums;
  Visit(
      e,
      [&](V p, V x) HWY_ATTR {
        sums = hn::Add(sums, p);
        products = hn::MulAdd(p, hn::Sub(x, shift), products);
      },
      probs, logits);
  const float sum = Sum(sums), log_sum = std::log(sum);
  const V divisor = hn::Set(D(), sum);
  Map(
      e, probs, [&](V p) HWY_ATTR { return hn::Div(p, divisor); }, probs);
  return {peak + log_sum, log_sum - Sum(products) / sum};
}

template <class E>
void RouterBackwardRow(size_t e, const float* p, const float* g, float pull, E* dlogits) {
  V mean = hn::Zero(D());
  Visit(
      e, [&](V a, V b) HWY_ATTR { mean = hn::MulAdd(a, b, mean); }, p, g);
  const V shift = hn::Set(D(), pull - Sum(mean));
  Map(
      e, dlogits, [&](V a, V b) HWY_ATTR { return hn::Mul(a, hn::Add(b, shift)); }, p, g);
}

template <class E, class Y>
void CombineRow(size_t d, int k, const int32_t* of, const E* rows, const float* residual, Y* y) {
  ForVectors(d, [&](auto lanes, size_t j) HWY_ATTR {
    V sum = residual == nullptr ? hn::Zero(D()) : lanes.Load(residual + j);
    for (int i = 0; i < k; ++i) {
      if (of[i] >= 0) sum = hn::Add(sum, lanes.Load(rows + of[i] * d + j));
    }
    lanes.Store(sum, y + j);
  });
}

void AddRow(size_t n, const float* x, float* y) {
  Map(
      n, y, [](V a, V b) HWY_ATTR { return hn::Add(a, b); }, y, x);
}

template <class E>
cpu::RoutingRows<E> RoutingRowsOf() {
  return {RouterForwardRow, RouterBackwardRow<E>, CombineRow<E, float>, CombineRow<E, E>, AddRow};
}

cpu::BothRows<cpu::RoutingRows> RoutingTables() {
  return {RoutingRowsOf<float>(), RoutingRowsOf<BF16>()};
}

}  // namespace polymoe::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace polymoe {
HWY_EXPORT(RoutingTables);

namespace cpu {
namespace {

constexpr int64_t kTokens = 64;  // a task

template <class E>
RoutingRows<E> RowsFor() {
  return std::get<RoutingRows<E>>(HWY_DYNAMIC_DISPATCH(RoutingTables)());
}

// The k largest of p[0, e), falling; of equals the lower index first. k is small: insertion into a sorted list.
void TopK(int e, int k, const float* p, int32_t* experts, float* weights) {
  int found = 0;
  for (int j = 0; j < e; ++j) {
    if (found == k && !(p[j] > weights[k - 1])) continue;
    int at = found < k ? found++ : k - 1;
    for (; at > 0 && p[j] > weights[at - 1]; --at) {
      weights[at] = weights[at - 1];
      experts[at] = experts[at - 1];
    }
    weights[at] = p[j];
    experts[at] = j;
  }
}

}  // namespace

void RouterForward(int n, int e, int k, const float* logits, float* probs, int32_t* experts, float* weights, float* lse,
                   int32_t* counts, double* sums) {
  const auto row = RowsFor<float>().router_forward;
  const int64_t blocks = (n + kTokens - 1) / kTokens, width = e + 2;
  double* partial = ThreadScratch<double>(blocks * width);
  ParallelBlocks(n, kTokens, [&](int64_t begin, int64_t end) {
    double* block = partial + begin / kTokens * width;
    std::fill_n(block, width, 0.0);
    for (int64_t i = begin; i < end; ++i) {
      // By logits: distinct logits can round to equal probabilities.
      TopK(e, k, logits + i * e, experts + i * k, weights + i * k);
      float* p = probs + i * e;
      const RouterRow result = row(e, weights[i * k], logits + i * e, p);
      for (int j = 0; j < k; ++j) weights[i * k + j] = p[experts[i * k + j]];
      lse[i] = result.lse;
      for (int j = 0; j < e; ++j) block[j] += p[j];
      block[e] += static_cast<double>(result.lse) * result.lse;
      block[e + 1] += result.entropy;
    }
  });
  std::fill_n(sums, width, 0.0);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t j = 0; j < width; ++j) sums[j] += partial[b * width + j];
  }
  std::fill_n(counts, e, 0);
  for (int64_t i = 0; i < int64_t{n} * k; ++i) ++counts[experts[i]];
}

template <class E>
void RouterBackward(int n, int e, int k, const float* probs, const int32_t* experts, const float* lse, const int32_t* counts,
                    const float* dweights, float balance, float z, E* dlogits) {
  const auto row = RowsFor<E>().router_backward;
  ParallelBlocks(n, kTokens, [&](int64_t begin, int64_t end) {
    float *base = ThreadScratch<float>(size_t{2} * e), *g = base + e;  // d(objective)/d(probs): of any token, and of one
    for (int j = 0; j < e; ++j) base[j] = balance * static_cast<float>(counts[j]);
    for (int64_t i = begin; i < end; ++i) {
      std::copy_n(base, e, g);
      for (int j = 0; j < k; ++j) g[experts[i * k + j]] += dweights[i * k + j];
      row(e, probs + i * e, g, 2 * z * lse[i], dlogits + i * e);
    }
  });
}

void EmbeddingForward(int n, int d, const int32_t* tokens, const float* w, float* y) {
  ParallelBlocks(n, kTokens, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::memcpy(y + i * d, w + int64_t{tokens[i]} * d, d * sizeof(float));
  });
}

void EmbeddingBackward(int n, int d, const int32_t* tokens, const float* dy, float* dw) {
  const auto add = RowsFor<float>().add;
  // Cut by columns: tokens may be equal, and each sum is in their order.
  ParallelBlocks(d, 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < n; ++i) add(end - begin, dy + i * d + begin, dw + int64_t{tokens[i]} * d + begin);
  });
}

template <class E>
void Gather(int n, int d, const int32_t* rows, const E* x, E* y) {
  ParallelBlocks(n, kTokens, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::copy_n(x + int64_t{rows[i]} * d, d, y + i * d);
  });
}

template <class E>
void CombineRows(int n, int d, int k, const int32_t* inverse, const E* rows, E* y) {
  const auto row = RowsFor<E>().combine_rows;
  ParallelBlocks(n, 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) row(d, k, inverse + i * k, rows, nullptr, y + i * d);
  });
}

template <class E>
void Combine(int n, int d, int k, const int32_t* inverse, const E* rows, const float* residual, float* y) {
  const auto row = RowsFor<E>().combine;
  ParallelBlocks(n, 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      row(d, k, inverse + i * k, rows, residual == nullptr ? nullptr : residual + i * d, y + i * d);
    }
  });
}

template decltype(RouterBackward<float>) RouterBackward<float>;
template decltype(RouterBackward<BF16>) RouterBackward<BF16>;
template decltype(Gather<float>) Gather<float>;
template decltype(Gather<BF16>) Gather<BF16>;
template decltype(CombineRows<float>) CombineRows<float>;
template decltype(CombineRows<BF16>) CombineRows<BF16>;
template decltype(Combine<float>) Combine<float>;
template decltype(Combine<BF16>) Combine<BF16>;

}  // namespace cpu
}  // namespace polymoe
#endif  // HWY_ONCE
