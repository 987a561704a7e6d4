/* SPDX-License-Identifier: MIT */
/* By cblas_sgemm of OpenBLAS or another CBLAS. */
#include <limits.h>

#include <cblas.h>

#include "gemm/gemm.h"
#include "gemm/library.h"

/* OpenBLAS's own; another CBLAS does not have them. */
extern void set_num_threads(int count) __asm__("openblas_set_num_threads") __attribute__((weak));
extern char *get_config(void) __asm__("openblas_get_config") __attribute__((weak));

const char *skep_gemm_name(void)
{
    return get_config ? get_config() : "CBLAS";
}

void skep_gemm_library_set_threads(unsigned threads)
{
    if (threads > 0 && set_num_threads)
        set_num_threads((int)threads);
}

static enum CBLAS_TRANSPOSE transpose_of(char op)
{
    return op == 'T' ? CblasTrans : CblasNoTrans;
}

bool skep_gemm_library_sgemm(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                             const float *a, size_t lda, const float *b, size_t ldb, float beta,
                             float *c, size_t ldc)
{
    if (m > INT_MAX || n > INT_MAX || k > INT_MAX || lda > INT_MAX || ldb > INT_MAX ||
        ldc > INT_MAX)
        return false;
    cblas_sgemm(CblasRowMajor, transpose_of(op_a), transpose_of(op_b), (int)m, (int)n, (int)k,
                alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    return true;
}
