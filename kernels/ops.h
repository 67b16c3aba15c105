// The table of operations: everything that the model computes, as functions over pointers and sizes.
//
// There is one table an implementation and element type: RefOps<E>() is plain loops (the oracle), CpuOps<E>() is Highway and our own
// matrix products on all OpenMP threads. The model holds a `const Ops<E>&` and never asks which one.
//
// Conventions, for every operation:
//  - Tensors are dense and row-major; the comment beside a pointer gives the shape, outermost first. A linear weight is [out, in],
//    y = x W^T. Nothing is aligned more than its type asks for.
//  - All arithmetic and every sum is in fp32 or better, whatever the tensors are stored in; a result is rounded once, when it is stored.
//  - Outputs never overlap inputs unless the comment says "may be".
//  - Gradients of activations are written (=); gradients of parameters are added to what is there (+=), those of products as asked.
//  - Sizes of 0 are legal and do nothing. Sizes and indices are the caller's promise; no operation checks them per element.
//  - Sums run in an order that depends on the shapes and the number of threads alone: the same call gives the same bits.
//  - No operation allocates, locks or logs after its first calls (scratch is per thread and grows once), none throws.
//
// Names of sizes: B sequences, T tokens a sequence, N = B*T tokens, D hidden, H heads, E experts, K experts a token (top-k),
// M = N*K routed rows, F width of an FFN, V vocabulary.
#ifndef POLYMOE_KERNELS_OPS_H_
#define POLYMOE_KERNELS_OPS_H_

#include <cstdint>

#include "kernels/bf16.h"

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

// Softmax weights of routed rows, applied behind the activation. `weights` is [N,K]; row r's is weights[source[r]] (see dispatch_plan).
struct RowWeights {
  const float* weights = nullptr;  // null: every row counts 1
  const int32_t* source = nullptr;
};

// Heads side by side: q, k and v are [B,T,D] each, D = heads * head_dim, head h the columns from h * head_dim. head_dim is even.
struct AttentionShape {
  int sequences, length, heads, head_dim;

  int tokens() const { return sequences * length; }
  int width() const { return heads * head_dim; }
};

// E is the type of activations and of weights in products: float or BF16.
template <class E>
struct Ops {
  const char* name;

  // ---- linear layers, y = x w^T: rows in groups, each group with its own weight; w and dw are [groups.count, n, k].
  // Where an operand has `rows`, its row r is row rows[r] of the tensor (a gather); null: the rows as they lie.
  void (*linear)(RowGroups groups, int n, int k, const E* x, const int32_t* rows, const E* w, E* y /*[M,n]*/);
  // In fp32, and with a residual [M,n] added (null: none; may be y).
  void (*linear_fp32)(RowGroups groups, int n, int k, const E* x, const E* w, const float* residual, float* y);
  // dx[M,k] = dy w
  void (*linear_backward_input)(RowGroups groups, int n, int k, const E* dy, const int32_t* rows, const E* w, E* dx);
  void (*linear_backward_input_fp32)(RowGroups groups, int n, int k, const E* dy, const E* w, bool accumulate, float* dx);
  // dw[g] = dy^T x over the rows of group g (0 when it has none); with accumulate, +=
  void (*linear_backward_weight)(RowGroups groups, int n, int k, const E* dy, const int32_t* dy_rows, const E* x,
                                 const int32_t* x_rows, bool accumulate, float* dw);

  // ---- embedding
  // y[N,D] = w[tokens[i]]
  void (*embedding_forward)(int n, int d, const int32_t* tokens, const float* w, float* y);
  // dw[tokens[i]] += dy[i], in the order of i for each row of dw
  void (*embedding_backward)(int n, int d, const int32_t* tokens, const float* dy, float* dw);

  // ---- RMSNorm: y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + epsilon)
  void (*rmsnorm_forward)(int rows, int d, float epsilon, const float* x, const float* w, E* y, float* rstd /*[rows]*/);
  // dx = gradient (with accumulate, +=: the residual stream's); dw += gradient. `rounded` receives dx as products read it (null: not).
  void (*rmsnorm_backward)(int rows, int d, const float* x, const float* w, const float* rstd, const float* dy, float* dx,
                           bool accumulate, E* rounded, float* dw);

  // ---- from the projections to what attention reads: RMSNorm of q and of k over their whole width (OLMoE), then the rotary position
  // embedding, half-rotation: pairs (j, j + head_dim/2) turn by the angle of `rope` (RopeTable).
  // qkv [N,3D] -> qk [N,2D]; v stays where it is. wq, wk [D]; null: no norm (LLaMA). rstd [N,2], of q and k.
  void (*qk_forward)(const AttentionShape& shape, float epsilon, const float* rope, const E* qkv, const float* wq, const float* wk,
                     E* qk, float* rstd);
  // The first 2D columns of dqkv [N,3D], from the gradient of qk to that of qkv, in place; dwq, dwk += gradient.
  void (*qk_backward)(const AttentionShape& shape, const float* rope, const E* qkv, const float* wq, const float* wk,
                      const float* rstd, E* dqkv, float* dwq, float* dwk);

  // ---- causal attention, scale 1/sqrt(head_dim): q and k from qk [N,2D], v from the last D columns of qkv [N,3D] -> y [N,D]
  // lse [B,H,T]: log of the sum of the exponentials of each row's scores, for the backward pass.
  void (*attention_forward)(const AttentionShape& shape, const E* qk, const E* qkv, E* y, float* lse);
  // dqkv [N,3D] = gradients of q, k and v
  void (*attention_backward)(const AttentionShape& shape, const E* qk, const E* qkv, const E* y, const float* lse, const E* dy,
                             E* dqkv);

  // ---- router: softmax over all experts in fp32, then top-k without renormalisation (OLMoE)
  // logits [N,E] -> probs [N,E]; experts [N,K] by falling probability, ties to the lower index; weights [N,K] their probabilities;
  // lse [N] the log-sum-exp of the logits; counts [E] rows routed to each expert; sums [E+2]: of each expert's probability, of lse^2,
  // of the entropy -sum p log p, over all tokens.
  void (*router_forward)(int n, int e, int k, const float* logits, float* probs, int32_t* experts, float* weights, float* lse,
                         int32_t* counts, double* sums);
  // dlogits of: sum(dweights * weights) + balance * sum_e counts[e] * sum_n probs[n,e] + z * sum_n lse[n]^2.
  // The caller folds its loss weights and denominators into `balance` and `z`.
  void (*router_backward)(int n, int e, int k, const float* probs, const int32_t* experts, const float* lse, const int32_t* counts,
                          const float* dweights, float balance, float z, E* dlogits);

  // ---- dispatch and combine
  // The routed rows of the experts [first, first + e), from experts [N,K]: offsets [e+1] of the rows sorted by expert (stable: by
  // token, then by k), and for each sorted row its source: source[r] = token * K + k, tokens[r] = token. inverse[token * K + k] = r,
  // or -1 where that expert is not one of these.
  void (*dispatch_plan)(int n, int first, int e, int k, const int32_t* experts, int32_t* offsets, int32_t* source, int32_t* tokens,
                        int32_t* inverse);
  // y[N,D] = x[rows[i]]
  void (*gather)(int n, int d, const int32_t* rows, const E* x, E* y);
  // y[N,D] = residual (null: 0; may be y) + sum over k of rows[inverse[n*K + k]], in the order of k, without those below 0
  void (*combine)(int n, int d, int k, const int32_t* inverse, const E* rows, const float* residual, float* y);
  // The sum alone, as another rank gets it.
  void (*combine_rows)(int n, int d, int k, const int32_t* inverse, const E* rows, E* y);

  // ---- FFN activation, rows grouped by coefficient set
  // x [rows, F] (or [rows, 2F] when gated) -> y [rows, F] = row weight * activation. Rows of group g use coefficients
  // c + g * coefficient_stride: a stride of 0 is one set for all. c may be null for an activation without coefficients.
  void (*activation_forward)(const Activation& activation, RowGroups groups, int f, const E* x, const float* c,
                             int coefficient_stride, RowWeights weights, E* y);
  // dx = gradient, may be dy when not gated; dweights [N,K] = gradient (unused without weights); dc += gradient, same stride.
  void (*activation_backward)(const Activation& activation, RowGroups groups, int f, const E* x, const float* c,
                              int coefficient_stride, RowWeights weights, const E* dy, E* dx, float* dweights, float* dc);

  // ---- loss: softmax cross entropy. losses[n] = lse - logits[n, targets[n]]
  // dlogits = (softmax - onehot) * scale; null for evaluation.
  void (*cross_entropy)(int n, int v, const float* logits, const int32_t* targets, float scale, float* losses, E* dlogits);

  // ---- vectors
  void (*round)(int64_t n, const float* x, BF16* y);
  double (*sum_squares)(int64_t n, const float* x);  // in fp64, for the gradient norm
  // AdamW with decoupled weight decay (Loshchilov & Hutter, algorithm 2): g = grad * grad_scale; p -= lr * wd * p; then the moments
  // and p -= lr * m_hat / (sqrt(v_hat) + epsilon). In the same pass `rounded` (null: not) becomes p.
  void (*adamw)(int64_t n, const AdamWParams& params, const float* grad, float* p, float* m, float* v, BF16* rounded);
};

// rope [2,T,head_dim/2]: cosines and sines of t * theta^(-2j/head_dim).
void RopeTable(int t, int head_dim, float theta, float* rope);

template <class E>
const Ops<E>& RefOps();
template <class E>
const Ops<E>& CpuOps();

// Whether this machine's CPU multiplies bf16 (AVX512_BF16): CpuOps<BF16> needs it.
bool CpuHasBf16();

}  // namespace polymoe

#endif  // POLYMOE_KERNELS_OPS_H_
