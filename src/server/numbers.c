/* SPDX-License-Identifier: MIT */
#include "server/numbers.h"

#include <stdint.h>
#include <string.h>

#include "base/vector.h"

enum { LANES = 16 };

/* Without its sign a float's bits are ordered as its value is, and NaN is above infinity. */
SKEP_VECTOR
float skep_max_abs(const float *v, size_t count)
{
    int32_t most = 0;
    float out;

    for (size_t i = 0; i < count; i++) {
        int32_t bits;

        memcpy(&bits, v + i, sizeof bits);
        bits &= INT32_MAX;
        most = bits > most ? bits : most;
    }
    memcpy(&out, &most, sizeof out);
    return out;
}

SKEP_VECTOR
double skep_sum_of_squares(const float *v, size_t count)
{
    double lanes[LANES] = {0}, sum = 0;
    size_t i = 0;

    for (; i + LANES <= count; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += (double)v[i + j] * (double)v[i + j];
    for (; i < count; i++)
        sum += (double)v[i] * (double)v[i];
    for (size_t j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

SKEP_VECTOR
void skep_add(float *restrict to, const float *restrict from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] += from[i];
}

SKEP_VECTOR
void skep_multiply(float *restrict to, const float *restrict by, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] *= by[i];
}

void skep_add_column_sums(float *sums, const float *v, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        skep_add(sums, v + i * columns, columns);
}

void skep_add_bias(float *v, const float *bias, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        skep_add(v + i * columns, bias, columns);
}

bool skep_products_are_fine(size_t rows, float a, float b)
{
    return (double)rows * (double)a * (double)b < (double)SKEP_GRADIENT_MAX;
}
