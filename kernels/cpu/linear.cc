// Matrix products through oneDNN's sgemm, which is the same call in oneDNN 2.6 (Debian 12) and 3.x (Debian 13). It uses all OpenMP
// threads outside a parallel region and the calling thread inside one.
#include <dnnl.h>

#include "common/check.h"
#include "kernels/cpu/cpu_ops.h"

namespace polymoe::cpu {

void Gemm(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
          int64_t ldb, float beta, float* c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  const dnnl_status_t status = dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
  POLYMOE_CHECK(status == dnnl_success, "dnnl_sgemm %c%c m=%ld n=%ld k=%ld: status %d", transpose_a, transpose_b,
                static_cast<long>(m), static_cast<long>(n), static_cast<long>(k), static_cast<int>(status));
}

void LinearForward(int m, int n, int k, const float* x, const float* w, float* y) {
  Gemm('N', 'T', m, n, k, x, k, w, k, 0, y, n);
}

void LinearBackwardInput(int m, int n, int k, const float* dy, const float* w, float* dx, bool accumulate) {
  Gemm('N', 'N', m, k, n, dy, n, w, k, accumulate ? 1 : 0, dx, k);
}

void LinearBackwardWeight(int m, int n, int k, const float* dy, const float* x, float* dw) {
  if (m > 0) Gemm('T', 'N', n, k, m, dy, n, x, k, 1, dw, k);
}

void GroupedLinearForward(RowGroups groups, int n, int k, const float* x, const float* w, float* y) {
  for (int64_t g = 0; g < groups.count; ++g) {
    const int64_t begin = groups.offsets[g];
    LinearForward(static_cast<int>(groups.offsets[g + 1] - begin), n, k, x + begin * k, w + g * n * k, y + begin * n);
  }
}

void GroupedLinearBackwardInput(RowGroups groups, int n, int k, const float* dy, const float* w, float* dx) {
  for (int64_t g = 0; g < groups.count; ++g) {
    const int64_t begin = groups.offsets[g];
    LinearBackwardInput(static_cast<int>(groups.offsets[g + 1] - begin), n, k, dy + begin * n, w + g * n * k, dx + begin * k,
                        false);
  }
}

void GroupedLinearBackwardWeight(RowGroups groups, int n, int k, const float* dy, const float* x, float* dw) {
  for (int64_t g = 0; g < groups.count; ++g) {
    const int64_t begin = groups.offsets[g];
    LinearBackwardWeight(static_cast<int>(groups.offsets[g + 1] - begin), n, k, dy + begin * n, x + begin * k, dw + g * n * k);
  }
}

}  // namespace polymoe::cpu
