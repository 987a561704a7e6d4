/* SPDX-License-Identifier: MIT */
#include "server/activation.h"

#include "base/vector.h"
#include "server/fast_exp.h"

#define SLOPE 0.7978845608f
#define CUBIC 0.044715f

SKEP_VECTOR
static void gelu_row(float *restrict v, const float *restrict bias, size_t columns)
{
    for (size_t j = 0; j < columns; j++) {
        float u = v[j] + bias[j];
        float y = u * SLOPE * (1.0f + CUBIC * u * u);

        v[j] = u * (1.0f / (1.0f + skep_fast_exp(-2.0f * y)));
    }
}

/* With s = 1 / (1 + e^-2y): g = u s, g' = s + u s' = s + 2 u s (1 - s) y'. */
SKEP_VECTOR
static void gelu_and_slope_row(float *restrict v, float *restrict slope, const float *restrict bias,
                               size_t columns)
{
    for (size_t j = 0; j < columns; j++) {
        float u = v[j] + bias[j], square = CUBIC * u * u;
        float y = u * SLOPE * (1.0f + square);
        float e = skep_fast_exp(-2.0f * y), s = 1.0f / (1.0f + e);
        float dy = SLOPE * (1.0f + 3.0f * square), g = u * s;

        v[j] = g;
        slope[j] = s + 2.0f * g * (e * s) * dy;
    }
}

void skep_gelu(float *v, const float *bias, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        gelu_row(v + i * columns, bias, columns);
}

void skep_gelu_and_slope(float *v, float *slope, const float *bias, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        gelu_and_slope_row(v + i * columns, slope + i * columns, bias, columns);
}
