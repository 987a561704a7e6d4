/* SPDX-License-Identifier: MIT */
/* hivemind's gelu_fast (moe/server/layers/common.py): g(v) = 0.5 v (1 + tanh(0.7978845608 v (1 + 0.044715 v^2))).
 *
 * 0.5 (1 + tanh(y)) is 1 / (1 + e^-2y), which takes one exponential and loses nothing where tanh is near -1. */
#ifndef SKEP_SERVER_ACTIVATION_H
#define SKEP_SERVER_ACTIVATION_H

#include <stddef.h>

/** v[row][column] = g(v[row][column] + bias[column]), in one pass over memory. */
void skep_gelu(float *v, const float *bias, size_t rows, size_t columns);

/** The same, and slope = g' at the same place. */
void skep_gelu_and_slope(float *v, float *slope, const float *bias, size_t rows, size_t columns);

#endif
