// All rows of a call: what one team of lanes (a block of the grid) does of it, and the sum of the rows' shares in dc.
#ifndef POLYMOE_KERNELS_CUDA_ROWS_H_
#define POLYMOE_KERNELS_CUDA_ROWS_H_

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/activation.h"
#include "kernels/cuda/row.h"

namespace polymoe::cuda {

// The arguments of a call; those after y are for the backward pass.
template <typename T>
struct Call {
  Activation activation;
  DeviceRowGroups groups;
  RowShape shape;
  const T* x;
  const float* c;
  int coefficient_stride;
  T* y;
  const T* dy;
  T* dx;
  float* dc;
  float* shares;  // [coefficient_count, max_rows]
};

// The group of row r: the last that begins at or before it, for empty groups begin there too.
__device__ inline int GroupOf(const DeviceRowGroups& groups, int64_t r) {
  int low = 0, high = groups.count;  // offsets[low] <= r < offsets[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (groups.offsets[middle] <= r ? low : high) = middle;
  }
  return low;
}

template <typename T>
__device__ RowParams ParamsOf(const Call<T>& call, int64_t r) {
  const int64_t group = call.coefficient_stride == 0 ? 0 : GroupOf(call.groups, r);
  return {call.shape, call.activation.order, call.activation.epsilon, call.c + group * call.coefficient_stride};
}

// Rows first, first + step, ...: any partition gives the same bits.
template <ActivationKind kKind, class Lanes, typename T>
__device__ void ForwardRows(const Lanes& lanes, const Call<T>& call, int64_t first, int64_t step, T* stage) {
  const int64_t rows = call.groups.offsets[call.groups.count], f = call.shape.f;
  for (int64_t r = first; r < rows; r += step) {
    ForwardRow<kKind>(lanes, ParamsOf(call, r), call.x + r * f * kRowWidth<kKind>, stage, call.y + r * f);
  }
}

template <ActivationKind kKind, class Lanes, typename T>
__device__ void BackwardRows(const Lanes& lanes, const Call<T>& call, int64_t first, int64_t step, T* stage) {
  const int64_t rows = call.groups.offsets[call.groups.count], f = call.shape.f;
  for (int64_t r = first; r < rows; r += step) {
    BackwardRow<kKind>(lanes, ParamsOf(call, r), call.x + r * f * kRowWidth<kKind>, call.dy + r * f, stage,
                       call.dx + r * f * kRowWidth<kKind>, call.shares + r, call.groups.max_rows);
  }
}

// dc[set, i] += the shares of the set's rows: of one group, or of all rows when one set serves all groups.
template <class Lanes, typename T>
__device__ void AddShares(const Lanes& lanes, const Call<T>& call, int set, int i) {
  const bool one_set = call.coefficient_stride == 0;
  const int64_t begin = one_set ? 0 : call.groups.offsets[set], end = call.groups.offsets[one_set ? call.groups.count : set + 1];
  const float* shares = call.shares + int64_t{i} * call.groups.max_rows;
  double sum[1] = {};
  for (int64_t r = begin + lanes.lane(); r < end; r += lanes.count()) sum[0] += shares[r];
  SumOverLanes(lanes, sum);
  if (lanes.lane() == 0) call.dc[int64_t{set} * call.coefficient_stride + i] += static_cast<float>(sum[0]);
}

template <typename T>
bool Aligned(const Call<T>& call) {
  const auto begins = [](const T* p) { return reinterpret_cast<uintptr_t>(p) % kPackBytes == 0; };
  return call.shape.f % kPack<T> == 0 && begins(call.x) && begins(call.y) && begins(call.dy) && begins(call.dx);
}

// f(std::integral_constant<ActivationKind, kind>())
template <class F>
auto WithKind(ActivationKind kind, const F& f) {
  using K = ActivationKind;
  switch (kind) {
    case K::kRelu:
      return f(std::integral_constant<K, K::kRelu>());
    case K::kRelu2:
      return f(std::integral_constant<K, K::kRelu2>());
    case K::kGelu:
      return f(std::integral_constant<K, K::kGelu>());
    case K::kSwiglu:
      return f(std::integral_constant<K, K::kSwiglu>());
    case K::kPolyRelu:
      return f(std::integral_constant<K, K::kPolyRelu>());
    case K::kPolyNorm:
      return f(std::integral_constant<K, K::kPolyNorm>());
    case K::kPolyPRelu:
      return f(std::integral_constant<K, K::kPolyPRelu>());
    default:
      return f(std::integral_constant<K, K::kPolyReluNorm>());
  }
}

}  // namespace polymoe::cuda

#endif  // POLYMOE_KERNELS_CUDA_ROWS_H_
