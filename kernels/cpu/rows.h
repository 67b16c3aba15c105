// Row functions that a file of this folder compiles once a target (Highway), as tables: HWY_EXPORT takes no templates, but a function
// that returns the tables of both element types. Each stands above its file's RowsFor<E>().
#ifndef POLYMOE_KERNELS_CPU_ROWS_H_
#define POLYMOE_KERNELS_CPU_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <tuple>

#include "kernels/ops.h"

namespace polymoe::cpu {

template <template <class> class Rows>
using BothRows = std::tuple<Rows<float>, Rows<BF16>>;

template <class E>
struct NormRows {
  float (*forward)(size_t n, float epsilon, const float* x, const float* w, E* y);  // returns rstd
  void (*backward)(size_t n, const float* x, const float* w, float rstd, const float* dy, float* dx, bool accumulate, E* rounded,
                   float* dw);
  // One of q and k of one token: `heads` heads of 2 * half columns. Without w no norm, and 0 is returned.
  float (*qk_forward)(size_t heads, size_t half, float epsilon, const float* cosine, const float* sine, const E* x, const float* w,
                      E* y);
  // The gradient in place; `scratch` has room for a row.
  void (*qk_backward)(size_t heads, size_t half, const float* cosine, const float* sine, const E* x, const float* w, float rstd,
                      E* gradient, float* scratch, float* dw);
};

// One query's part of the work. Rows of scores have room for whole vectors; `n` keys of them count, the other probabilities up to
// `width` become 0.
template <class E>
struct AttentionRows {
  // p = exp(scale * scores - peak), with `peak` raised to the largest score and `sum` and out [head_dim] scaled to the new peak.
  void (*softmax)(int n, int width, float scale, float* scores, float* peak, float* sum, E* p, int head_dim, float* out);
  // p = exp(scale * scores - lse), ds = scale * p * (dp - delta)
  void (*softmax_backward)(int n, int width, float scale, float lse, float delta, float* scores, float* dp, E* p, E* ds);
  // y = scale * x
  void (*scale)(int n, float scale, const float* x, E* y);
  float (*dot)(int n, const E* a, const E* b);
};

struct RouterRow {
  float lse, entropy;
};

template <class E>
struct RoutingRows {
  RouterRow (*router_forward)(size_t e, float peak, const float* logits, float* probs);
  // dlogits = p (g + pull - <p, g>)
  void (*router_backward)(size_t e, const float* p, const float* g, float pull, E* dlogits);
  // y = residual (or null: 0) + the rows of `rows` that `of` lists, k of them, but for those below 0
  void (*combine)(size_t d, int k, const int32_t* of, const E* rows, const float* residual, float* y);
  void (*combine_rows)(size_t d, int k, const int32_t* of, const E* rows, const float* residual, E* y);
  void (*add)(size_t n, const float* x, float* y);  // y += x
};

template <class E>
struct ActivationRows {
  void (*forward)(const Activation& activation, size_t f, float weight, const E* x, const float* c, E* y);
  // Returns the weight's gradient; dc += the row's.
  float (*backward)(const Activation& activation, size_t f, float weight, const E* x, const float* c, const E* dy, E* dx,
                    float* dc);
};

template <class E>
struct VectorRows {
  // Returns the loss; dlogits unless that is null.
  float (*cross_entropy)(size_t v, const float* logits, int32_t target, float scale, E* dlogits);
  void (*round)(size_t n, const float* x, BF16* y);
  float (*squares)(size_t n, const float* x);
  void (*adamw)(size_t n, const AdamWParams& params, const float* grad, float* p, float* m, float* v, BF16* rounded);
};

}  // namespace polymoe::cpu

#endif  // POLYMOE_KERNELS_CPU_ROWS_H_
