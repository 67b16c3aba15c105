// The functions behind CpuOps(), by file; contracts are those of kernels/ops.h. Templates are instantiated for float and BF16 in their
// files.
#ifndef POLYMOE_KERNELS_CPU_CPU_OPS_H_
#define POLYMOE_KERNELS_CPU_CPU_OPS_H_

#include <cstdint>

#include "kernels/ops.h"

namespace polymoe::cpu {

// linear.cc
template <class E>
void Linear(RowGroups groups, int n, int k, const E* x, const int32_t* rows, const E* w, E* y);
template <class E>
void LinearFp32(RowGroups groups, int n, int k, const E* x, const E* w, const float* residual, float* y);
template <class E>
void LinearBackwardInput(RowGroups groups, int n, int k, const E* dy, const int32_t* rows, const E* w, E* dx);
template <class E>
void LinearBackwardInputFp32(RowGroups groups, int n, int k, const E* dy, const E* w, bool accumulate, float* dx);
template <class E>
void LinearBackwardWeight(RowGroups groups, int n, int k, const E* dy, const int32_t* dy_rows, const E* x, const int32_t* x_rows,
                          bool accumulate, float* dw);

// norm.cc
template <class E>
void RmsNormForward(int rows, int d, float epsilon, const float* x, const float* w, E* y, float* rstd);
template <class E>
void RmsNormBackward(int rows, int d, const float* x, const float* w, const float* rstd, const float* dy, float* dx,
                     bool accumulate, E* rounded, float* dw);
template <class E>
void QkForward(const AttentionShape& shape, float epsilon, const float* rope, const E* qkv, const float* wq, const float* wk, E* qk,
               float* rstd);
template <class E>
void QkBackward(const AttentionShape& shape, const float* rope, const E* qkv, const float* wq, const float* wk, const float* rstd,
                E* dqkv, float* dwq, float* dwk);

// attention.cc
template <class E>
void AttentionForward(const AttentionShape& shape, const E* qk, const E* qkv, E* y, float* lse);
template <class E>
void AttentionBackward(const AttentionShape& shape, const E* qk, const E* qkv, const E* y, const float* lse, const E* dy, E* dqkv);

// routing.cc
void EmbeddingForward(int n, int d, const int32_t* tokens, const float* w, float* y);
void EmbeddingBackward(int n, int d, const int32_t* tokens, const float* dy, float* dw);
void RouterForward(int n, int e, int k, const float* logits, float* probs, int32_t* experts, float* weights, float* lse,
                   int32_t* counts, double* sums);
template <class E>
void RouterBackward(int n, int e, int k, const float* probs, const int32_t* experts, const float* lse, const int32_t* counts,
                    const float* dweights, float balance, float z, E* dlogits);
template <class E>
void Gather(int n, int d, const int32_t* rows, const E* x, E* y);
template <class E>
void Combine(int n, int d, int k, const int32_t* inverse, const E* rows, const float* residual, float* y);
template <class E>
void CombineRows(int n, int d, int k, const int32_t* inverse, const E* rows, E* y);

// activation.cc
template <class E>
void ActivationForward(const Activation& activation, RowGroups groups, int f, const E* x, const float* c, int coefficient_stride,
                       RowWeights weights, E* y);
template <class E>
void ActivationBackward(const Activation& activation, RowGroups groups, int f, const E* x, const float* c, int coefficient_stride,
                        RowWeights weights, const E* dy, E* dx, float* dweights, float* dc);

// vector.cc
template <class E>
void CrossEntropy(int n, int v, const float* logits, const int32_t* targets, float scale, float* losses, E* dlogits);
void Round(int64_t n, const float* x, BF16* y);
double SumSquares(int64_t n, const float* x);
void AdamW(int64_t n, const AdamWParams& params, const float* grad, float* p, float* m, float* v, BF16* rounded);

}  // namespace polymoe::cpu

#endif  // POLYMOE_KERNELS_CPU_CPU_OPS_H_
