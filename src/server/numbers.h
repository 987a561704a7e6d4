/* SPDX-License-Identifier: MIT */
/* Short loops over float32 numbers that several classes and the optimizer use. Sums run in a fixed number of lanes, so that every compiler and processor
 * gives the same bits. */
#ifndef SKEP_SERVER_NUMBERS_H
#define SKEP_SERVER_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>

/** A gradient above this is as bad as an infinite one: its square, which Adam keeps, would be infinite. */
#define SKEP_GRADIENT_MAX 1e18f

/** @return the largest |v|; NaN or infinity if one of them is. 0 for none. */
float skep_max_abs(const float *v, size_t count);

/** @return the sum of squares. */
double skep_sum_of_squares(const float *v, size_t count);

/** sums[j] += the sum of column j. */
void skep_add_column_sums(float *sums, const float *v, size_t rows, size_t columns);

/** v[i][j] += bias[j] */
void skep_add_bias(float *v, const float *bias, size_t rows, size_t columns);

/** to[i] += from[i] */
void skep_add(float *to, const float *from, size_t count);

/** to[i] *= by[i] */
void skep_multiply(float *to, const float *by, size_t count);

/** Can gradients that are sums of `rows` products of numbers up to `a` and `b` be applied? False where one of them is NaN. */
bool skep_products_are_fine(size_t rows, float a, float b);

#endif
