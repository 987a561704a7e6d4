/* SPDX-License-Identifier: MIT */
/* Products of few rows, for which the libraries take a multiple of the time that the multiplications need. */
#ifndef SKEP_GEMM_SMALL_H
#define SKEP_GEMM_SMALL_H

#include <stdbool.h>
#include <stddef.h>

/** @return true: done, as skep_gemm_sgemm() does it; false: this shape, or this processor, is better off with the library, and nothing was done. */
bool skep_gemm_small(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha,
                     const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
                     size_t ldc);

#endif
