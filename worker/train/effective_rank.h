// Effective rank of a matrix (Roy and Vetterli 2007): exp of the entropy of its singular values, normalised to the sum 1. It is n when
// all n singular values are equal and 1 when there is only one.
#ifndef POLYMOE_WORKER_TRAIN_EFFECTIVE_RANK_H_
#define POLYMOE_WORKER_TRAIN_EFFECTIVE_RANK_H_

#include <cstdint>

#include "kernels/bf16.h"

namespace polymoe {

// Of `matrix` [rows, cols], row-major, both at least 1; 0 of a matrix of zeros, NaN where an entry is not finite.
//
// The singular values are the roots of the eigenvalues of the smaller Gram matrix, in double. Eigenvalues below 2.2e-16 n of the
// largest, n = min(rows, cols), are taken as 0: they are rounding. That loses singular values below 5e-7 of the largest (n = 1024):
// against a full decomposition 1e-15 of the rank of a trained matrix, 3e-6 where singular values fall over 15 orders.
//
// Takes 16 n^2 + 1024 n bytes and little more for the call (common/spec/memory_plan.cc counts them), on the caller's thread alone; the
// bits do not depend on which. Throws std::bad_alloc.
double EffectiveRank(const float* matrix, int64_t rows, int64_t cols);
double EffectiveRank(const BF16* matrix, int64_t rows, int64_t cols);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_EFFECTIVE_RANK_H_
