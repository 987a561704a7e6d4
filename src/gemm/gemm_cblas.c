/* SPDX-License-Identifier: MIT */
/* By cblas_sgemm of OpenBLAS or another CBLAS. */
#include "gemm/gemm.h"

#include <cblas.h>

#include "gemm/small.h"

extern void skep_gemm_openblas_set_num_threads(int count) __asm__("openblas_set_num_threads")
    __attribute__((weak));
extern char *skep_gemm_openblas_get_config(void) __asm__("openblas_get_config")
    __attribute__((weak));

/* OpenBLAS has one number for all threads, and starts with as many as there are processors. */
void skep_gemm_set_threads(unsigned count)
{
    if (count > 0 && skep_gemm_openblas_set_num_threads)
        skep_gemm_openblas_set_num_threads((int)count);
}

const char *skep_gemm_name(void)
{
    return skep_gemm_openblas_get_config ? skep_gemm_openblas_get_config() : "CBLAS";
}

static enum CBLAS_TRANSPOSE transpose_of(char op)
{
    return op == 'T' ? CblasTrans : CblasNoTrans;
}

void skep_gemm_sgemm(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                     const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
                     size_t ldc)
{
    if (skep_gemm_small(op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))
        return;
    cblas_sgemm(CblasRowMajor, transpose_of(op_a), transpose_of(op_b), (int)m, (int)n, (int)k,
                alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}
