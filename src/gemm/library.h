/* SPDX-License-Identifier: MIT */
/* What the library below us has to offer; one of gemm_dnnl.c and gemm_cblas.c. */
#ifndef SKEP_GEMM_LIBRARY_H
#define SKEP_GEMM_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/** As skep_gemm_sgemm(), m, n and k above 0. @return false: it could not. */
bool skep_gemm_library_sgemm(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                             const float *a, size_t lda, const float *b, size_t ldb, float beta,
                             float *c, size_t ldc);

/** For a library that counts its threads for the process as a whole. */
void skep_gemm_library_set_threads(unsigned threads);

#endif
