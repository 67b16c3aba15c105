// The functions behind CpuOps(), by file; contracts are those of kernels/ops.h.
#ifndef POLYMOE_KERNELS_CPU_CPU_OPS_H_
#define POLYMOE_KERNELS_CPU_CPU_OPS_H_

#include <cstdint>

#include "kernels/ops.h"

namespace polymoe::cpu {

// C[m,n] = op(A) op(B) + beta C over row-major matrices with leading dimensions; op transposes where 'T'.
void Gemm(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
          int64_t ldb, float beta, float* c, int64_t ldc);

// linear.cc
void LinearForward(int m, int n, int k, const float* x, const float* w, float* y);
void LinearBackwardInput(int m, int n, int k, const float* dy, const float* w, float* dx, bool accumulate);
void LinearBackwardWeight(int m, int n, int k, const float* dy, const float* x, float* dw);
void GroupedLinearForward(RowGroups groups, int n, int k, const float* x, const float* w, float* y);
void GroupedLinearBackwardInput(RowGroups groups, int n, int k, const float* dy, const float* w, float* dx);
void GroupedLinearBackwardWeight(RowGroups groups, int n, int k, const float* dy, const float* x, float* dw);

// norm.cc
void RmsNormForward(int rows, int d, float epsilon, const float* x, const float* w, float* y, float* rstd);
void RmsNormBackward(int rows, int d, const float* x, const float* w, const float* rstd, const float* dy, float* dx,
                     bool accumulate, float* dw);
void Rope(int b, int t, int heads, int head_dim, float theta, bool inverse, float* x);

// attention.cc
void AttentionForward(int b, int t, int heads, int head_dim, const float* q, const float* k, const float* v, float* y, float* lse);
void AttentionBackward(int b, int t, int heads, int head_dim, const float* q, const float* k, const float* v, const float* y,
                       const float* lse, const float* dy, float* dq, float* dk, float* dv);

// routing.cc
void RouterForward(int n, int e, int k, const float* logits, float* probs, int32_t* experts, float* weights, float* lse,
                   int32_t* counts);
void RouterBackward(int n, int e, int k, const float* probs, const int32_t* experts, const float* lse, const int32_t* counts,
                    const float* dweights, float balance, float z, float* dlogits);
void EmbeddingForward(int n, int d, const int32_t* tokens, const float* w, float* y);
void Dispatch(int m, int d, int k, const int32_t* source, const float* x, float* rows);
void DispatchBackward(int n, int d, int k, const int32_t* inverse, const float* drows, float* dx, bool accumulate);
void Combine(int n, int d, int k, const int32_t* inverse, const float* weights, const float* rows, float* y);
void CombineBackward(int m, int d, int k, const int32_t* source, const float* weights, const float* rows, const float* dy,
                     float* drows, float* dweights);

// activation.cc
void ActivationForward(const Activation& activation, RowGroups groups, int f, const float* x, const float* c,
                       int coefficient_stride, float* y);
void ActivationBackward(const Activation& activation, RowGroups groups, int f, const float* x, const float* c,
                        int coefficient_stride, const float* dy, float* dx, float* dc);

// vector.cc
void CrossEntropy(int n, int v, const float* logits, const int32_t* targets, float scale, float* losses, float* dlogits);
void Add(int64_t n, const float* x, float* y);
double SumSquares(int64_t n, const float* x);
void AdamW(int64_t n, const AdamWParams& params, const float* grad, float* p, float* m, float* v);

}  // namespace polymoe::cpu

#endif  // POLYMOE_KERNELS_CPU_CPU_OPS_H_
