// Kernels and launches. A row is a block's: as many warps as give each thread about two packs of it. A row that is read twice waits in
// shared memory in between. The gradients of the coefficients are two kernels: every row writes its share, then one block a
// coefficient adds them up.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

#include "kernels/cuda/activation.h"
#include "kernels/cuda/rows.h"

namespace polymoe::cuda {
namespace {

constexpr int kWarpSize = 32;
constexpr int kReduceThreads = 1024;
constexpr int kMaxBlocks = 8192;                         // several waves on any GPU; blocks then take further rows
constexpr size_t kMaxStage = 48 * 1024 - kScratchBytes;  // a block has 48 KiB of shared memory unless it asks for more

// The threads of this block.
struct BlockLanes {
  static constexpr int kWarp = kWarpSize;
  void* scratch;

  __device__ int lane() const { return static_cast<int>(threadIdx.x); }
  __device__ int count() const { return static_cast<int>(blockDim.x); }
  template <typename V, int n>
  __device__ void Xor(const V (&v)[n], int mask, V (&to)[n]) const {
#pragma unroll
    for (int i = 0; i < n; ++i) to[i] = __shfl_xor_sync(0xffffffffu, v[i], mask);
  }
  __device__ void Sync() const {
    __syncthreads();
  }
  __device__ void* Scratch() const {
    return scratch;
  }
};

template <ActivationKind kKind, bool kBackward, typename T>
__global__ void __launch_bounds__(kMaxRowWarps* kWarpSize) RowsKernel(const Call<T> call, bool staged) {
  extern __shared__ uint4 dynamic[];
  __shared__ alignas(8) unsigned char scratch[kScratchBytes];
  T* stage = staged ? reinterpret_cast<T*>(dynamic) : nullptr;
  if constexpr (kBackward) {
    BackwardRows<kKind>(BlockLanes{scratch}, call, blockIdx.x, gridDim.x, stage);
  } else {
    ForwardRows<kKind>(BlockLanes{scratch}, call, blockIdx.x, gridDim.x, stage);
  }
}

template <typename T>
__global__ void __launch_bounds__(kReduceThreads) AddSharesKernel(const Call<T> call) {
  __shared__ double scratch[kReduceThreads / kWarpSize];
  AddShares(BlockLanes{scratch}, call, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y));
}

absl::Status ToStatus(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string message = absl::StrCat(what, ": ", cudaGetErrorName(error), ": ", cudaGetErrorString(error));
  const bool absent =
      error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver || error == cudaErrorNoKernelImageForDevice;
  return absent ? absl::UnavailableError(message) : absl::InternalError(message);
}

cudaError_t Launch(dim3 grid, int threads, size_t shared_bytes, cudaStream_t stream, auto kernel, auto... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <bool kBackward, typename T>
cudaError_t LaunchRows(const Call<T>& call, cudaStream_t stream) {
  const int64_t packs = StageSize<T>(call.shape.f) / kPack<T>;
  const int warps = static_cast<int>(std::clamp<int64_t>(packs / (2 * kWarpSize), 1, kMaxRowWarps));
  const auto blocks = static_cast<unsigned>(std::min(call.groups.max_rows, kMaxBlocks));
  return WithKind(call.activation.kind, [&](auto kind) {
    const size_t stage = kNormed<kind()> ? packs * kPackBytes * (kBackward ? 2 : 1) : 0;
    const bool staged = stage > 0 && stage <= kMaxStage;
    return Launch(dim3(blocks), warps * kWarpSize, staged ? stage : 0, stream, RowsKernel<kind(), kBackward, T>, call, staged);
  });
}

bool Empty(const DeviceRowGroups& groups, int f) {
  return groups.count == 0 || groups.max_rows == 0 || f == 0;
}

}  // namespace

size_t ActivationWorkspaceBytes(const Activation& activation, int32_t max_rows) {
  return sizeof(float) * static_cast<size_t>(activation.coefficient_count()) * static_cast<size_t>(max_rows);
}

template <typename T>
absl::Status ActivationForward(const Activation& activation, const DeviceRowGroups& groups, int f, const T* x, const float* c,
                               int coefficient_stride, T* y, cudaStream_t stream) {
  if (Empty(groups, f)) return absl::OkStatus();
  Call<T> call = {
      .activation = activation, .groups = groups, .shape = {f}, .x = x, .c = c, .coefficient_stride = coefficient_stride};
  call.y = y;
  call.shape.aligned = Aligned(call);
  return ToStatus(LaunchRows<false>(call, stream), "launch of activation_forward");
}

template <typename T>
absl::Status ActivationBackward(const Activation& activation, const DeviceRowGroups& groups, int f, const T* x, const float* c,
                                int coefficient_stride, const T* dy, T* dx, float* dc, float* workspace, cudaStream_t stream) {
  if (Empty(groups, f)) return absl::OkStatus();
  Call<T> call = {
      .activation = activation, .groups = groups, .shape = {f}, .x = x, .c = c, .coefficient_stride = coefficient_stride};
  call.dy = dy;
  call.dx = dx;
  call.dc = dc;
  call.shares = workspace;
  call.shape.aligned = Aligned(call);
  const absl::Status rows = ToStatus(LaunchRows<true>(call, stream), "launch of activation_backward");
  if (!rows.ok() || !activation.has_coefficients()) return rows;
  const dim3 sums(coefficient_stride == 0 ? 1 : groups.count, activation.coefficient_count());
  return ToStatus(Launch(sums, kReduceThreads, 0, stream, AddSharesKernel<T>, call), "launch of activation_backward's sums");
}

#define POLYMOE_INSTANTIATE(T)                                                                                                    \
  template absl::Status ActivationForward(const Activation&, const DeviceRowGroups&, int, const T*, const float*, int, T*,        \
                                          cudaStream_t);                                                                          \
  template absl::Status ActivationBackward(const Activation&, const DeviceRowGroups&, int, const T*, const float*, int, const T*, \
                                           T*, float*, float*, cudaStream_t);
POLYMOE_INSTANTIATE(float)
POLYMOE_INSTANTIATE(__nv_bfloat16)
#undef POLYMOE_INSTANTIATE

}  // namespace polymoe::cuda
