/* SPDX-License-Identifier: MIT */
/* libskep_gemm: matrix products by oneDNN or a CBLAS, in a shared library of its own, so that only programs that host experts load what these bring along.
 *
 * Where none of them was found when skep was built this library is missing, and server/gemm.c takes its place. */
#ifndef SKEP_GEMM_H
#define SKEP_GEMM_H

#include <skep/error.h>

#include <stddef.h>

/** C[m][n] = alpha * op(A) op(B) + beta * C, row-major, op 'N' or 'T': see skep_pass.sgemm of skep/expert_class.h. From any thread. */
SKEP_API void skep_gemm_sgemm(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                              const float *a, size_t lda, const float *b, size_t ldb, float beta,
                              float *c, size_t ldc);

/** How many threads compute one product: of all callers, from the next product on; 0 leaves it to the library. */
SKEP_API void skep_gemm_set_threads(unsigned threads);

/** @return such as "oneDNN 2.6.0" or "OpenBLAS 0.3.21". */
SKEP_API const char *skep_gemm_name(void);

#endif
