/* SPDX-License-Identifier: MIT */
/* Which product is computed by what, and with how many threads. */
#include "gemm/gemm.h"

#include <math.h>
#include <stdatomic.h>

#include "gemm/library.h"
#include "gemm/lanes.h"

/* Not there where nothing in the process uses OpenMP. */
extern void omp_set_num_threads(int count) __attribute__((weak));

static atomic_uint threads;

void skep_gemm_set_threads(unsigned count)
{
    atomic_store(&threads, count);
    skep_gemm_library_set_threads(count);
}

/* OpenMP keeps its number for each thread that asks. */
static void take_threads(void)
{
    static _Thread_local unsigned taken;
    unsigned wanted = atomic_load_explicit(&threads, memory_order_relaxed);

    if (wanted == taken || wanted == 0 || !omp_set_num_threads)
        return;
    omp_set_num_threads((int)wanted);
    taken = wanted;
}

/* As BLAS has it, beta 0 overwrites what may be NaN. */
static void scale(float *c, size_t m, size_t n, size_t ldc, float beta)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            c[i * ldc + j] = beta == 0 ? 0 : c[i * ldc + j] * beta;
}

void skep_gemm_sgemm(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                     const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
                     size_t ldc)
{
    if (m == 0 || n == 0)
        return;
    if (k == 0) {
        scale(c, m, n, ldc, beta);
        return;
    }
    take_threads();
    if (op_a == 'N' && op_b == 'T' && skep_gemm_lanes(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))
        return;
    if (!skep_gemm_library_sgemm(op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))
        scale(c, m, n, ldc, NAN); /* nobody takes that for a result */
}
