/* SPDX-License-Identifier: MIT */
/* C = alpha A B^T + beta C for few rows of A and many of B, as a linear layer has them for a small batch. */
#ifndef SKEP_GEMM_LANES_H
#define SKEP_GEMM_LANES_H

#include <stdbool.h>
#include <stddef.h>

/** @return true: done; false: for this shape or on this processor the library is faster, or there is no memory, and nothing was done. */
bool skep_gemm_lanes(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
                     const float *b, size_t ldb, float beta, float *c, size_t ldc);

#endif
