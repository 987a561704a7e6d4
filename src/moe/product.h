/* SPDX-License-Identifier: MIT */
/* Sums over float32 numbers: the matrix products of a gate, and what is done to rows of experts' outputs.
 *
 * Straight loops, each sum in one fixed order, so that the same numbers give the same result on every processor. One thread; the large products of
 * experts are in server/gemm.c. */
#ifndef SKEP_MOE_PRODUCT_H
#define SKEP_MOE_PRODUCT_H

#include <stddef.h>

/** A matrix in place: its number at (i, j) is at[i * row + j * column]. */
struct skep_matrix {
    const float *at;
    size_t row, column;
};

/** out[i][j] += Σ_p a(i, p) · b(p, j), out row-major [m][n]. */
void skep_product_add(float *out, size_t m, size_t n, size_t k, struct skep_matrix a,
                      struct skep_matrix b);

/** @return Σ a[i] · b[i]. */
float skep_product_dot(const float *a, const float *b, size_t count);

/** out[i] += factor · a[i]. */
void skep_product_add_scaled(float *out, float factor, const float *a, size_t count);

/** out[i] = factor · a[i]. */
void skep_product_scale(float *out, float factor, const float *a, size_t count);

/** out[i] *= a[i]. */
void skep_product_multiply(float *out, const float *a, size_t count);

#endif
