// FFN activations on a GPU: activation_forward and activation_backward of kernels/ops.h on device pointers, for float and
// __nv_bfloat16. Arithmetic, coefficients and their gradients are fp32; a bf16 result is rounded once.
//
// The trainer does not use them yet, and no GPU has run them: the code of the rows is also compiled for the host and tested there.
//
// A call enqueues its work on `stream` and returns; it neither allocates nor waits. All pointers are the device's, aligned as their
// types ask for; rows that are aligned to 16 bytes throughout are read and written 16 bytes at a time. The order of all sums depends on
// shapes alone: the same call gives the same bits.
#ifndef POLYMOE_KERNELS_CUDA_ACTIVATION_H_
#define POLYMOE_KERNELS_CUDA_ACTIVATION_H_

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"

#include "kernels/ops.h"

namespace polymoe::cuda {

// RowGroups whose offsets are on the device, where the router wrote them: the host knows only how many rows there may be.
struct DeviceRowGroups {
  int count = 0;
  const int32_t* offsets = nullptr;  // [count + 1], offsets[0] == 0
  int32_t max_rows = 0;              // at least offsets[count]; nothing is read or written of rows from offsets[count] on
};

// T is float or __nv_bfloat16. UNAVAILABLE without a GPU that can run it, INTERNAL when CUDA refuses the launch; both say why. Errors
// of the run itself come, as always with CUDA, from whatever waits for the stream.
template <typename T>
absl::Status ActivationForward(const Activation& activation, const DeviceRowGroups& groups, int f, const T* x, const float* c,
                               int coefficient_stride, T* y, cudaStream_t stream);

// Bytes of workspace of a backward call: each row's part of the gradients of the coefficients.
size_t ActivationWorkspaceBytes(const Activation& activation, int32_t max_rows);

// `workspace` is in use until the stream has passed the call; null will do when it has no bytes.
template <typename T>
absl::Status ActivationBackward(const Activation& activation, const DeviceRowGroups& groups, int f, const T* x, const float* c,
                                int coefficient_stride, const T* dy, T* dx, float* dc, float* workspace, cudaStream_t stream);

}  // namespace polymoe::cuda

#endif  // POLYMOE_KERNELS_CUDA_ACTIVATION_H_
