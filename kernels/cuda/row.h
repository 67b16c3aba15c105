// FFN activations of one row, shared by lanes (lanes.h). PolyCom rows with a norm are read twice, sums first, then the polynomial in
// Horner form with constants of the row; all others once. Powers above the order have weight 0: one code path serves orders 1 to 4.
#ifndef POLYMOE_KERNELS_CUDA_ROW_H_
#define POLYMOE_KERNELS_CUDA_ROW_H_

#include <cmath>

#include "kernels/cuda/lanes.h"
#include "kernels/cuda/pack.h"
#include "kernels/ops.h"

namespace polymoe::cuda {

template <ActivationKind kKind>
inline constexpr bool kNormed = kKind == ActivationKind::kPolyNorm || kKind == ActivationKind::kPolyReluNorm;
template <ActivationKind kKind>
inline constexpr bool kPoly = kNormed<kKind> || kKind == ActivationKind::kPolyRelu || kKind == ActivationKind::kPolyPRelu;
template <ActivationKind kKind>
inline constexpr int kRowWidth = kKind == ActivationKind::kSwiglu ? 2 : 1;  // of x, in F

__device__ inline float Sigmoid(float x) {
  return 1.0f / (1.0f + std::exp(-x));
}

__device__ inline float NormalCdf(float x) {
  return 0.5f + 0.5f * std::erf(x * 0.70710678f);
}

// max(x, 0) that keeps a NaN.
__device__ inline float Relu(float x) {
  return x < 0 ? 0.0f : x;
}

template <ActivationKind kKind>
__device__ float Plain(float x) {
  if constexpr (kKind == ActivationKind::kRelu) {
    return Relu(x);
  } else if constexpr (kKind == ActivationKind::kRelu2) {
    return Relu(x) * Relu(x);
  } else {
    return x * NormalCdf(x);  // kGelu
  }
}

template <ActivationKind kKind>
__device__ float PlainDerivative(float x) {
  if constexpr (kKind == ActivationKind::kRelu) {
    return x > 0 ? 1.0f : 0.0f;
  } else if constexpr (kKind == ActivationKind::kRelu2) {
    return 2 * Relu(x);
  } else {
    return x * (0.39894228f * std::exp(-0.5f * x * x)) + NormalCdf(x);  // kGelu
  }
}

// What the polynomial is taken of.
template <ActivationKind kKind>
__device__ float Base(float x, float slope) {
  if constexpr (kKind == ActivationKind::kPolyNorm) {
    return x;
  } else if constexpr (kKind == ActivationKind::kPolyPRelu) {
    return x > 0 ? x : slope * x;
  } else {
    return Relu(x);
  }
}

// From the gradient of Base to that of x.
template <ActivationKind kKind>
__device__ float BaseBackward(float x, float slope, float du) {
  if constexpr (kKind == ActivationKind::kPolyNorm) {
    return du;
  } else if constexpr (kKind == ActivationKind::kPolyPRelu) {
    return x > 0 ? du : slope * du;
  } else {
    return x > 0 ? du : 0.0f;
  }
}

// The activation's constants, and the coefficients of the row's group.
struct RowParams {
  RowShape shape;
  int order;
  float epsilon;
  const float* c;
};

// A row's polynomial in u: bias + u (s1 + u (s2 + u (s3 + u s4))) with s_p = w_p rstd_p (rstd_p = 1 without a norm).
struct Polynomial {
  float s[5], rstd[5], slope = 0;  // by power; s[0] is the bias

  __device__ float operator()(float u) const { return s[0] + u * (s[1] + u * (s[2] + u * (s[3] + u * s[4]))); }
  __device__ float Derivative(float u) const { return s[1] + u * (2 * s[2] + u * (3 * s[3] + u * (4 * s[4]))); }
};

template <ActivationKind kKind>
__device__ Polynomial Weights(const RowParams& params) {
  Polynomial row;
  for (int p = 0; p <= 4; ++p) {
    row.s[p] = p <= params.order ? params.c[params.order - p] : 0.0f;
    row.rstd[p] = 1;
  }
  if constexpr (kKind == ActivationKind::kPolyPRelu) row.slope = params.c[params.order + 1];
  return row;
}

// Takes mean(u^2p), p = 1 to 4.
__device__ inline void Normalise(const RowParams& params, const float* means, Polynomial& row) {
  for (int p = 1; p <= 4; ++p) {
    if (p > params.order) continue;
    row.rstd[p] = 1.0f / std::sqrt(means[p - 1] + params.epsilon);
    row.s[p] *= row.rstd[p];
  }
}

// means[p - 1] += u^2p / f. Divided before they are added: u^6 alone reaches the end of fp32 at 2.6e6, a sum of them much earlier.
__device__ inline void AddMoments(float u, float share, float* means) {
  const float u2 = u * u, u4 = u2 * u2, part = u2 * share;
  means[0] += part;
  means[1] += u2 * part;
  means[2] += u4 * part;
  means[3] += u4 * u2 * part;
}

// sums[p] += g u^p
__device__ inline void AddProducts(float u, float g, float* sums) {
  for (int p = 0; p <= 4; ++p, g *= u) sums[p] += g;
}

// stage: StageSize elements, or null.
template <ActivationKind kKind, class Lanes, typename T>
__device__ void ForwardRow(const Lanes& lanes, const RowParams& params, const T* x, T* stage, T* y) {
  const RowShape shape = params.shape;
  if constexpr (kKind == ActivationKind::kSwiglu) {
    const auto swiglu = [](float gate, float up) { return gate * Sigmoid(gate) * up; };
    Map(lanes, shape, y, swiglu, Source<T>{x}, Source<T>{x + shape.f});
  } else if constexpr (!kPoly<kKind>) {
    Map(
        lanes, shape, y, [](float v) { return Plain<kKind>(v); }, Source<T>{x});
  } else {
    Polynomial row = Weights<kKind>(params);
    const Source<T> source{x, kNormed<kKind> ? stage : nullptr};
    if constexpr (kNormed<kKind>) {
      const float share = 1.0f / static_cast<float>(shape.f);
      float means[4] = {};
      Visit(
          lanes, shape, [&](float v) { AddMoments(Base<kKind>(v, 0), share, means); }, source);
      SumOverLanes(lanes, means);
      Normalise(params, means, row);
    }
    Map(
        lanes, shape, y, [&](float v) { return row(Base<kKind>(v, row.slope)); }, source);
  }
}

template <class Lanes, typename T>
__device__ void SwigluBackwardRow(const Lanes& lanes, RowShape shape, const T* x, const T* dy, T* dx) {
  for (int j = lanes.lane() * kPack<T>; j < shape.f; j += lanes.count() * kPack<T>) {
    const Pack<T> gates = LoadPack(x, j, shape), ups = LoadPack(x + shape.f, j, shape), gradients = LoadPack(dy, j, shape);
    Pack<T> dgates, dups;
    for (int k = 0; k < kPack<T>; ++k) {
      const float gate = ToFloat(gates.v[k]), g = ToFloat(gradients.v[k]), s = Sigmoid(gate);
      Round(g * ToFloat(ups.v[k]) * (s * (1 + gate * (1 - s))), &dgates.v[k]);
      Round(g * (gate * s), &dups.v[k]);
    }
    StorePack(dgates, dx, j, shape);
    StorePack(dups, dx + shape.f, j, shape);
  }
}

// dx = (dy s'(u) - u (n1 + u^2 (n2 + u^2 (n3 + u^2 n4)))) base'(x),  n_p = [normed] p/f s_p rstd_p^2 S_p,  S_p = sum dy u^p
template <ActivationKind kKind, class Lanes, typename T>
__device__ void PolyBackwardRow(const Lanes& lanes, const RowParams& params, Source<T> x, Source<T> dy, T* dx, float* shares,
                                int64_t share_step) {
  constexpr bool kSlope = kKind == ActivationKind::kPolyPRelu;
  Polynomial row = Weights<kKind>(params);
  float sums[kNormed<kKind> ? 9 : kSlope ? 6 : 5] = {};  // S_0 to S_4, then the means of a norm or the gradient of the slope
  if constexpr (kNormed<kKind>) {
    const float share = 1.0f / static_cast<float>(params.shape.f);
    const auto add = [&](float v, float g) {
      const float u = Base<kKind>(v, 0);
      AddProducts(u, g, sums);
      AddMoments(u, share, sums + 5);
    };
    Visit(lanes, params.shape, add, x, dy);
    SumOverLanes(lanes, sums);
    Normalise(params, sums + 5, row);
    float n[5];
    for (int p = 1; p <= 4; ++p) {
      n[p] = p <= params.order ? static_cast<float>(p) * share * row.s[p] * row.rstd[p] * row.rstd[p] * sums[p] : 0.0f;
    }
    const auto gradient = [&](float v, float g) {
      const float u = Base<kKind>(v, 0), u2 = u * u;
      const float du = g * row.Derivative(u) - u * (n[1] + u2 * (n[2] + u2 * (n[3] + u2 * n[4])));
      return BaseBackward<kKind>(v, 0, du);
    };
    Map(lanes, params.shape, dx, gradient, x, dy);
  } else {
    const auto gradient = [&](float v, float g) {
      const float u = Base<kKind>(v, row.slope), du = g * row.Derivative(u);
      AddProducts(u, g, sums);
      if constexpr (kSlope) sums[5] += v > 0 ? 0.0f : du * v;
      return BaseBackward<kKind>(v, row.slope, du);
    };
    Map(lanes, params.shape, dx, gradient, x, dy);
    SumOverLanes(lanes, sums);
  }
  if (lanes.lane() != 0) return;
  for (int p = 0; p <= 4; ++p) {
    if (p <= params.order) shares[(params.order - p) * share_step] = row.rstd[p] * sums[p];
  }
  if constexpr (kSlope) shares[(params.order + 1) * share_step] = sums[5];
}

// shares[i * share_step] becomes this row's part of dc[i]. stage: 2 StageSize elements, or null. dx may be dy but for kSwiglu.
template <ActivationKind kKind, class Lanes, typename T>
__device__ void BackwardRow(const Lanes& lanes, const RowParams& params, const T* x, const T* dy, T* stage, T* dx, float* shares,
                            int64_t share_step) {
  if constexpr (kKind == ActivationKind::kSwiglu) {
    SwigluBackwardRow(lanes, params.shape, x, dy, dx);
  } else if constexpr (!kPoly<kKind>) {
    const auto gradient = [](float v, float g) { return g * PlainDerivative<kKind>(v); };
    Map(lanes, params.shape, dx, gradient, Source<T>{x}, Source<T>{dy});
  } else {
    if (!kNormed<kKind>) stage = nullptr;
    T* second = stage == nullptr ? nullptr : stage + StageSize<T>(params.shape.f);
    PolyBackwardRow<kKind>(lanes, params, Source<T>{x, stage}, Source<T>{dy, second}, dx, shares, share_step);
  }
}

}  // namespace polymoe::cuda

#endif  // POLYMOE_KERNELS_CUDA_ROW_H_
