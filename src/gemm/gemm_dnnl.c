/* SPDX-License-Identifier: MIT */
/* By dnnl_sgemm, which is the same function in oneDNN 2 and 3 and row-major as ours is. */
#include "gemm/gemm.h"

#include <stdatomic.h>
#include <stdio.h>

#include <dnnl.h>

#include "gemm/small.h"

/* oneDNN may be built with another runtime than OpenMP's: then this is not there. */
extern void omp_set_num_threads(int count) __attribute__((weak));

static atomic_uint threads;

void skep_gemm_set_threads(unsigned count)
{
    atomic_store(&threads, count);
}

/* OpenMP keeps the number for each thread that asks. */
static void take_threads(void)
{
    static _Thread_local unsigned taken;
    unsigned wanted = atomic_load_explicit(&threads, memory_order_relaxed);

    if (wanted == taken || wanted == 0 || !omp_set_num_threads)
        return;
    omp_set_num_threads((int)wanted);
    taken = wanted;
}

const char *skep_gemm_name(void)
{
    static char text[32];
    const dnnl_version_t *version = dnnl_version();

    snprintf(text, sizeof text, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return text;
}

void skep_gemm_sgemm(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                     const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
                     size_t ldc)
{
    if (skep_gemm_small(op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))
        return;
    take_threads();
    dnnl_sgemm(op_a, op_b, (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, alpha, a, (dnnl_dim_t)lda,
               b, (dnnl_dim_t)ldb, beta, c, (dnnl_dim_t)ldc);
}
