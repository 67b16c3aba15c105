// How lanes that share the work on a row add up over it. Like all row code here it is __device__, which means nothing to a host
// compiler: nvcc compiles it for the GPU, and the tests compile the same text as plain C++.
//
// A Lanes policy has
//   kWarp             lanes that can exchange values, a power of two
//   lane(), count()   which lane this is, of how many; count() is kWarp times a number of warps
//   Xor(v, mask, to)  fills the array `to` with the v of lane() ^ mask, mask < kWarp
//   Sync()            waits for all lanes; what they wrote before is there after
//   Scratch()         memory shared by all lanes, kScratchBytes of it
// and all lanes call the last three in the same order. A block of GPU threads is in activation.cu; the
// tests have lanes of the host.
#ifndef POLYMOE_KERNELS_CUDA_LANES_H_
#define POLYMOE_KERNELS_CUDA_LANES_H_

#include <cuda_runtime_api.h>  // for __device__

namespace polymoe::cuda {

inline constexpr int kMaxRowWarps = 8;  // warps that share a row
inline constexpr int kMaxRowSums = 9;   // floats added up over it at once
inline constexpr int kScratchBytes = kMaxRowWarps * kMaxRowSums * 4;

// v[i] becomes the sum of v[i] over all lanes, the same bits in each of them. The order is fixed: a butterfly in each warp, then the
// warps by number.
template <class Lanes, typename V, int n>
__device__ void SumOverLanes(const Lanes& lanes, V (&v)[n]) {
  for (int mask = Lanes::kWarp / 2; mask > 0; mask /= 2) {
    V other[n];
    lanes.Xor(v, mask, other);
    for (int i = 0; i < n; ++i) v[i] += other[i];
  }
  const int warps = lanes.count() / Lanes::kWarp;
  if (warps == 1) return;
  V* scratch = static_cast<V*>(lanes.Scratch());
  if (lanes.lane() % Lanes::kWarp == 0) {
    for (int i = 0; i < n; ++i) scratch[lanes.lane() / Lanes::kWarp * n + i] = v[i];
  }
  lanes.Sync();
  for (int i = 0; i < n; ++i) {
    v[i] = scratch[i];
    for (int warp = 1; warp < warps; ++warp) v[i] += scratch[warp * n + i];
  }
  lanes.Sync();  // the next sum writes there
}

}  // namespace polymoe::cuda

#endif  // POLYMOE_KERNELS_CUDA_LANES_H_
