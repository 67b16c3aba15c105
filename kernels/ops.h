// The table of operations: everything that the model computes, as functions over pointers and sizes.
//
// There is one table an implementation: RefOps() is plain loops (the oracle), CpuOps() is oneDNN and Highway on all OpenMP threads.
// The model holds a `const Ops&` and never asks which one.
//
// Conventions, for every operation:
//  - Tensors are dense, row-major fp32; the comment beside a pointer gives the shape, outermost first. A linear weight is [out, in],
//    y = x W^T. Nothing is aligned more than its type asks for.
//  - Outputs never overlap inputs unless the comment says "may be".
//  - Gradients of activations are written (=); gradients of parameters are added to what is there (+=).
//  - Sizes of 0 are legal and do nothing. Sizes and indices are the caller's promise; no operation checks them per element.
//  - Sums run in an order that depends on the shapes and the number of threads alone: the same call gives the same bits.
//  - No operation allocates, locks or logs after its first calls (GEMM scratch is per thread and grows once), none throws.
//
// Names of sizes: B sequences, T tokens a sequence, N = B*T tokens, D hidden, H heads, E experts, K experts a token (top-k),
// M = N*K routed rows, F width of an FFN, V vocabulary.
#ifndef POLYMOE_KERNELS_OPS_H_
#define POLYMOE_KERNELS_OPS_H_

#include <cstdint>

namespace polymoe {

enum class ActivationKind { kRelu, kRelu2, kGelu, kSwiglu, kPolyRelu, kPolyNorm, kPolyPRelu, kPolyReluNorm };

// An FFN activation. PolyCom coefficients (arXiv 2411.03884, in the order of the published checkpoints) of one set:
//   c[0..order-1]  weights of x^order, ..., x^2, x    (initially 1/order each)
//   c[order]       bias                               (0)
//   c[order + 1]   slope of PReLU, kPolyPRelu only    (0.25)
// y = bias + sum_p w_p * f_p(x), over one row of F elements, with
//   kPolyRelu      f_p = max(x, 0)^p
//   kPolyPRelu     f_p = prelu(x)^p,  prelu(x) = x > 0 ? x : slope * x
//   kPolyNorm      f_p = norm(x^p),   norm(v) = v / sqrt(mean(v^2) + epsilon)
//   kPolyReluNorm  f_p = norm(max(x, 0)^p)
// kRelu2 is max(x, 0)^2, kGelu the exact erf form. kSwiglu reads rows of 2F, gate first: y = silu(gate) * up.
struct Activation {
  ActivationKind kind = ActivationKind::kRelu;
  int order = 3;  // 1 to 4
  float epsilon = 1e-6f;

  bool gated() const { return kind == ActivationKind::kSwiglu; }
  bool has_coefficients() const {
    return kind == ActivationKind::kPolyRelu || kind == ActivationKind::kPolyNorm || kind == ActivationKind::kPolyPRelu ||
           kind == ActivationKind::kPolyReluNorm;
  }
  // Floats in one set of coefficients.
  int coefficient_count() const { return !has_coefficients() ? 0 : order + (kind == ActivationKind::kPolyPRelu ? 2 : 1); }
};

// Rows in groups (one an expert): group g has rows [offsets[g], offsets[g + 1]). Groups may be empty.
struct RowGroups {
  int count = 0;
  const int32_t* offsets = nullptr;  // [count + 1], offsets[0] == 0

  int32_t rows() const { return count == 0 ? 0 : offsets[count]; }
};

struct AdamWParams {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
  float grad_scale;        // multiplies the gradient first (clipping)
  float bias_correction1;  // 1 - beta1^t
  float bias_correction2;  // 1 - beta2^t
};

struct Ops {
  const char* name;

  // ---- linear layers
  // y[m,n] = x[m,k] w[n,k]^T
  void (*linear_forward)(int m, int n, int k, const float* x, const float* w, float* y);
  // dx[m,k] = dy[m,n] w[n,k]; with accumulate, +=
  void (*linear_backward_input)(int m, int n, int k, const float* dy, const float* w, float* dx, bool accumulate);
  // dw[n,k] += dy[m,n]^T x[m,k]
  void (*linear_backward_weight)(int m, int n, int k, const float* dy, const float* x, float* dw);

  // The same for grouped rows, each group with its own weight; w and dw are [groups.count, n, k].
  void (*grouped_linear_forward)(RowGroups groups, int n, int k, const float* x, const float* w, float* y);
  void (*grouped_linear_backward_input)(RowGroups groups, int n, int k, const float* dy, const float* w, float* dx);
  void (*grouped_linear_backward_weight)(RowGroups groups, int n, int k, const float* dy, const float* x, float* dw);

  // ---- embedding
  // y[N,D] = w[tokens[i]]
  void (*embedding_forward)(int n, int d, const int32_t* tokens, const float* w, float* y);
  // dw[tokens[i]] += dy[i], in the order of i for each row of dw
  void (*embedding_backward)(int n, int d, const int32_t* tokens, const float* dy, float* dw);

  // ---- RMSNorm: y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + epsilon)
  void (*rmsnorm_forward)(int rows, int d, float epsilon, const float* x, const float* w, float* y, float* rstd /*[rows]*/);
  // dx = gradient (with accumulate, +=: the residual stream's); dw += gradient
  void (*rmsnorm_backward)(int rows, int d, const float* x, const float* w, const float* rstd, const float* dy, float* dx,
                           bool accumulate, float* dw);

  // ---- rotary position embedding, half-rotation, in place on x [B,T,H*head_dim]; head_dim is even
  // Pairs (j, j + head_dim/2) turn by the angle t * theta^(-2j/head_dim). inverse turns back (the backward pass).
  void (*rope)(int b, int t, int heads, int head_dim, float theta, bool inverse, float* x);

  // ---- causal attention, scale 1/sqrt(head_dim). q, k, v, y [B,T,H*head_dim]
  // lse [B,H,T]: log of the sum of the exponentials of each row's scores, for the backward pass.
  void (*attention_forward)(int b, int t, int heads, int head_dim, const float* q, const float* k, const float* v, float* y,
                            float* lse);
  void (*attention_backward)(int b, int t, int heads, int head_dim, const float* q, const float* k, const float* v, const float* y,
                             const float* lse, const float* dy, float* dq, float* dk, float* dv);

  // ---- router: softmax over all experts in fp32, then top-k without renormalisation (OLMoE)
  // logits [N,E] -> probs [N,E]; experts [N,K] by falling probability, ties to the lower index; weights [N,K] their probabilities;
  // lse [N] the log-sum-exp of the logits; counts [E] rows routed to each expert.
  void (*router_forward)(int n, int e, int k, const float* logits, float* probs, int32_t* experts, float* weights, float* lse,
                         int32_t* counts);
  // dlogits of: sum(dweights * weights) + balance * sum_e counts[e] * sum_n probs[n,e] + z * sum_n lse[n]^2.
  // The caller folds its loss weights and denominators into `balance` and `z`.
  void (*router_backward)(int n, int e, int k, const float* probs, const int32_t* experts, const float* lse, const int32_t* counts,
                          const float* dweights, float balance, float z, float* dlogits);

  // ---- dispatch and combine
  // From experts [N,K]: offsets [E+1] of the rows sorted by expert (stable: by token, then by k), and for each sorted row its source:
  // source[r] = token * K + k. inverse[token * K + k] = r.
  void (*dispatch_plan)(int n, int e, int k, const int32_t* experts, int32_t* offsets, int32_t* source, int32_t* inverse);
  // rows[M,D] = x[source[r] / K]
  void (*dispatch)(int m, int d, int k, const int32_t* source, const float* x, float* rows);
  // dx[N,D] = sum over k of drows[inverse[n*K + k]], in the order of k; with accumulate, +=
  void (*dispatch_backward)(int n, int d, int k, const int32_t* inverse, const float* drows, float* dx, bool accumulate);
  // y[N,D] += sum over k of weights[n,k] * rows[inverse[n*K + k]], in the order of k
  void (*combine)(int n, int d, int k, const int32_t* inverse, const float* weights, const float* rows, float* y);
  // drows[r] = weights[source[r]] * dy[token]; dweights[source[r]] = <rows[r], dy[token]>
  void (*combine_backward)(int m, int d, int k, const int32_t* source, const float* weights, const float* rows, const float* dy,
                           float* drows, float* dweights);

  // ---- FFN activation, rows grouped by coefficient set
  // x [rows, F] (or [rows, 2F] when gated) -> y [rows, F]. Rows of group g use coefficients c + g * coefficient_stride: a stride of 0
  // is one set for all. c may be null for an activation without coefficients.
  void (*activation_forward)(const Activation& activation, RowGroups groups, int f, const float* x, const float* c,
                             int coefficient_stride, float* y);
  // dx = gradient, may be dy when not gated; dc += gradient, same stride.
  void (*activation_backward)(const Activation& activation, RowGroups groups, int f, const float* x, const float* c,
                              int coefficient_stride, const float* dy, float* dx, float* dc);

  // ---- loss: softmax cross entropy. losses[n] = lse - logits[n, targets[n]]
  // With dlogits (may be logits; null for evaluation): dlogits = (softmax - onehot) * scale.
  void (*cross_entropy)(int n, int v, const float* logits, const int32_t* targets, float scale, float* losses, float* dlogits);

  // ---- vectors
  void (*add)(int64_t n, const float* x, float* y);  // y += x
  double (*sum_squares)(int64_t n, const float* x);  // in fp64, for the gradient norm
  // AdamW with decoupled weight decay (Loshchilov & Hutter, algorithm 2): g = grad * grad_scale; p -= lr * wd * p; then the moments
  // and p -= lr * m_hat / (sqrt(v_hat) + epsilon).
  void (*adamw)(int64_t n, const AdamWParams& params, const float* grad, float* p, float* m, float* v);
};

const Ops& RefOps();
const Ops& CpuOps();

}  // namespace polymoe

#endif  // POLYMOE_KERNELS_OPS_H_
