/* SPDX-License-Identifier: MIT */
#include "server/softmax.h"

#include <float.h>

#include "base/vector.h"
#include "server/fast_exp.h"

enum { LANES = 16 };

SKEP_VECTOR
static float largest(const float *restrict v, const uint8_t *restrict left_out, size_t n)
{
    float lanes[LANES], most = -FLT_MAX;
    size_t i = 0;

    for (size_t j = 0; j < LANES; j++)
        lanes[j] = -FLT_MAX;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            float x = left_out[i + j] ? -FLT_MAX : v[i + j];

            lanes[j] = x > lanes[j] ? x : lanes[j];
        }
    for (; i < n; i++)
        most = !left_out[i] && v[i] > most ? v[i] : most;
    for (size_t j = 0; j < LANES; j++)
        most = lanes[j] > most ? lanes[j] : most;
    return most;
}

SKEP_VECTOR
static void exponentials(float *restrict v, const uint8_t *restrict left_out, float most, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float e = skep_fast_exp(v[i] - most);

        v[i] = left_out[i] ? 0 : e;
    }
}

SKEP_VECTOR
static float dot(const float *restrict a, const float *restrict b, size_t n)
{
    float lanes[LANES] = {0}, sum = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (size_t j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

SKEP_VECTOR
static float sum_of(const float *v, size_t n)
{
    float lanes[LANES] = {0}, sum = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += v[i + j];
    for (; i < n; i++)
        sum += v[i];
    for (size_t j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

SKEP_VECTOR
static void scale(float *v, float by, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] *= by;
}

void skep_softmax(float *v, const uint8_t *left_out, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++, v += columns) {
        float sum;

        exponentials(v, left_out, largest(v, left_out, columns), columns);
        sum = sum_of(v, columns);
        if (sum != 0)
            scale(v, 1 / sum, columns);
    }
}

SKEP_VECTOR
static void backward_row(float *restrict grad, const float *restrict softmax, float mean, size_t n)
{
    for (size_t i = 0; i < n; i++)
        grad[i] = softmax[i] * (grad[i] - mean);
}

void skep_softmax_backward(float *grad, const float *softmax, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++, grad += columns, softmax += columns)
        backward_row(grad, softmax, dot(grad, softmax, columns), columns);
}
