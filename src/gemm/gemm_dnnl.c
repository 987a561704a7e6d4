/* SPDX-License-Identifier: MIT */
/* By dnnl_sgemm, which is the same function in oneDNN 2 and 3 and row-major as ours is. */
#include <stdio.h>

#include <dnnl.h>

#include "gemm/gemm.h"
#include "gemm/library.h"

const char *skep_gemm_name(void)
{
    static _Thread_local char text[48];
    const dnnl_version_t *version = dnnl_version();

    snprintf(text, sizeof text, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return text;
}

void skep_gemm_library_set_threads(unsigned threads)
{
    (void)threads; /* it goes by OpenMP's number of the thread that calls */
}

bool skep_gemm_library_sgemm(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                             const float *a, size_t lda, const float *b, size_t ldb, float beta,
                             float *c, size_t ldc)
{
    return dnnl_sgemm(op_a, op_b, (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, alpha, a,
                      (dnnl_dim_t)lda, b, (dnnl_dim_t)ldb, beta, c,
                      (dnnl_dim_t)ldc) == dnnl_success;
}
