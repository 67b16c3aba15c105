// Rows of float or bf16 by packs of 16 bytes, a pack a lane at a time; arithmetic sees floats.
#ifndef POLYMOE_KERNELS_CUDA_PACK_H_
#define POLYMOE_KERNELS_CUDA_PACK_H_

#include <cuda_bf16.h>

#include <cstdint>
#include <cstring>

namespace polymoe::cuda {

inline constexpr int kPackBytes = 16;
template <typename T>
inline constexpr int kPack = kPackBytes / static_cast<int>(sizeof(T));

template <typename T>
struct alignas(kPackBytes) Pack {
  T v[kPack<T>];
};

// Copies an aligned pack in one instruction: as uint4 on the device, which the aliasing rules of the host do not allow there.
__device__ inline void MovePack(const void* from, void* to) {
#ifdef __CUDA_ARCH__
  *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
#else
  std::memcpy(to, from, kPackBytes);
#endif
}

// The same to global memory: nvcc 13 makes four stores of the assignment, and one of this (write-back is how all stores cache).
__device__ inline void MovePackOut(const void* from, void* to) {
#ifdef __CUDA_ARCH__
  __stwb(static_cast<uint4*>(to), *static_cast<const uint4*>(from));
#else
  MovePack(from, to);
#endif
}

__device__ inline float ToFloat(float v) {
  return v;
}
__device__ inline float ToFloat(__nv_bfloat16 v) {
  return __bfloat162float(v);
}

__device__ inline void Round(float v, float* to) {
  *to = v;
}
__device__ inline void Round(float v, __nv_bfloat16* to) {
  *to = __float2bfloat16_rn(v);
}

struct RowShape {
  int f;         // elements
  bool aligned;  // rows begin at multiples of kPackBytes and are multiples of it long
};

// Elements [j, j + kPack) of a row, zeros past its end.
template <typename T>
__device__ Pack<T> LoadPack(const T* row, int j, RowShape shape) {
  Pack<T> pack;
  if (shape.aligned) {
    MovePack(row + j, &pack);
  } else {
    for (int k = 0; k < kPack<T>; ++k) {
      Round(0, &pack.v[k]);
      if (j + k < shape.f) pack.v[k] = row[j + k];
    }
  }
  return pack;
}

template <typename T>
__device__ void StorePack(const Pack<T>& pack, T* row, int j, RowShape shape) {
  if (shape.aligned) {
    MovePackOut(&pack, row + j);
  } else {
    for (int k = 0; k < kPack<T>; ++k) {
      if (j + k < shape.f) row[j + k] = pack.v[k];
    }
  }
}

// A row that is read twice comes from memory once if there is a stage for it: fast memory, aligned, of which each lane reads only what
// it wrote itself. Without one (null) it is read from memory again.
template <typename T>
struct Source {
  const T* row;
  T* stage = nullptr;

  __device__ Pack<T> First(int j, RowShape shape) const {
    const Pack<T> pack = LoadPack(row, j, shape);
    if (stage != nullptr) MovePack(&pack, stage + j);
    return pack;
  }
  __device__ Pack<T> Last(int j, RowShape shape) const {
    if (stage == nullptr) return LoadPack(row, j, shape);
    Pack<T> pack;
    MovePack(stage + j, &pack);
    return pack;
  }
};

// Elements of the stage of one row.
template <typename T>
__host__ __device__ int64_t StageSize(int f) {
  return (int64_t{f} + kPack<T> - 1) / kPack<T> * kPack<T>;
}

// f(a[j], b[j], ...) for its side effects, such as sums. f must turn the zeros past the end of a row into nothing. The first reading.
template <class Lanes, class F, typename T, class... More>
__device__ void Visit(const Lanes& lanes, RowShape shape, const F& f, const Source<T>& a, const More&... more) {
  for (int j = lanes.lane() * kPack<T>; j < shape.f; j += lanes.count() * kPack<T>) {
    const auto each = [&](const auto&... packs) {
      for (int k = 0; k < kPack<T>; ++k) f(ToFloat(packs.v[k])...);
    };
    each(a.First(j, shape), more.First(j, shape)...);
  }
}

// out[j] = f(a[j], b[j], ...), rounded. `out` may be any of the rows. The last reading.
template <class Lanes, typename T, class F, class... Sources>
__device__ void Map(const Lanes& lanes, RowShape shape, T* out, const F& f, const Sources&... in) {
  for (int j = lanes.lane() * kPack<T>; j < shape.f; j += lanes.count() * kPack<T>) {
    Pack<T> result;
    const auto each = [&](const auto&... packs) {
      for (int k = 0; k < kPack<T>; ++k) Round(f(ToFloat(packs.v[k])...), &result.v[k]);
    };
    each(in.Last(j, shape)...);
    StorePack(result, out, j, shape);
  }
}

}  // namespace polymoe::cuda

#endif  // POLYMOE_KERNELS_CUDA_PACK_H_
